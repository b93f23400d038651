package storm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// machineCalls is a program that calls with an access token of its own, which is
// opaque, so that the gateway has to ask the provider about it. It gets a new one
// now and then.
func (w *world) machineCalls(ctx context.Context) {
	b := w.newBrowser("a machine")
	for ctx.Err() == nil {
		token, err := w.machineToken(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.ledger.amiss("the provider gives the machine no token: %v", err)
				pause(ctx, time.Second)
			}
			continue
		}
		for until := time.Now().Add(w.o.token / 2); time.Now().Before(until); {
			_, _ = b.ask(ctx, kindBearer, "GET", "/m2m/notes", "", []int{http.StatusOK}, "Authorization", "Bearer "+token)
			if !pause(ctx, 80*time.Millisecond) {
				return
			}
		}
	}
}

func (w *world) machineToken(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {audience}}
	req, err := http.NewRequestWithContext(ctx, "POST", w.idp.Issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(machine, w.machine)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		return "", fmt.Errorf("%s without a token", resp.Status)
	}
	w.ledger.hide(got.Token)
	return got.Token, nil
}
