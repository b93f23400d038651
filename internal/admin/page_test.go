package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keyway/internal/rotation"
	"keyway/internal/secret"
	"keyway/internal/telemetry"
	"keyway/internal/testkit/browser"
	"keyway/internal/testkit/parts"
	"keyway/internal/verify"
)

// bad is text that would do something if it were markup.
const bad = `<img src=x onerror="window.taken=1"><b>bold</b> "quoted" & 'more'`

// busy is a Control of a fleet in which much goes on at once.
type busy struct {
	*fake
	now time.Time
}

func (b busy) ago(d time.Duration) *time.Time { t := b.now.Add(-d); return &t }

func (b busy) Status(context.Context) (Status, error) {
	day := 24 * time.Hour
	version := func(id, state string, made, used, ends time.Duration) VersionStatus {
		v := VersionStatus{ID: id, State: state, CreatedAt: b.ago(made)}
		if used != 0 {
			v.ActivatedAt = b.ago(used)
		}
		if ends != 0 {
			v.RetiresAt = b.ago(ends)
		}
		return v
	}
	many, few := 12345, 0
	retiring := version("kxilwlchdyve6fk7", "retiring", 91*day, 90*day, -7*time.Hour)
	retiring.Dependents = &many
	stolen := version("aaaaqqqqzzzz7777", "retired", 200*day, 190*day, 100*day)
	stolen.Compromised, stolen.Withdrawn = true, true
	old := version("oldoldoldoldold1", "retiring", 2*day, 2*day, -time.Minute)
	old.Dependents, old.HandedIn = &few, true
	var history []VersionStatus
	for i := range 12 {
		history = append(history, version(fmt.Sprintf("history%09d", i), "retired", time.Duration(i+2)*30*day, time.Duration(i+2)*30*day, time.Duration(i+1)*30*day))
	}
	step := func(what string, d time.Duration) rotation.Step { return rotation.Step{At: *b.ago(d), What: what} }
	return Status{
		Leader: "ro5p3cgnp2lpqcutqm2sgvncwz", Store: "the shared store at redis://redis.example:6379",
		Notes: []string{"the clock of this replica and that of the store are 42 s apart; an identity provider refuses assertions of a replica whose clock is off", bad},
		Secrets: []SecretStatus{
			{Name: "session-key", Kind: "inward", Source: "managed", Active: "t44ftbrbizmxany7", NextRotationAt: b.ago(-83 * day),
				Versions: append([]VersionStatus{version("t44ftbrbizmxany7", "active", 7*day, 7*day, 0), retiring, stolen}, history...)},
			{Name: "client-secret/an-identity-provider-with-a-very-long-name.example", Kind: "outward", Source: "handed_in", Active: "fameuzphb3znv3s2",
				Versions: []VersionStatus{version("pending000000001", "pending", 20*time.Minute, 0, 0), version("fameuzphb3znv3s2", "active", 30*day, 30*day, 0), old},
				Rotation: &rotation.Rotation{ID: "r1", Secret: "client-secret", From: "fameuzphb3znv3s2", To: "pending000000001", StartedAt: *b.ago(20 * time.Minute), Steps: []rotation.Step{step("handed_in", 20*time.Minute), step("proved", 19*time.Minute)}},
				Waiting:  "for every live replica to hold it", Blocked: []string{"b7aaaaaaaaaaaaaaaaaaaaaaaa"}},
			{Name: "signing-key", Kind: "outward", Source: "managed", Active: "kiXJRIuE3qCDHiDd6HpQiCNnd-1CG06xbg4qDLjIIBA", NextRotationAt: b.ago(-40 * time.Minute),
				Versions: []VersionStatus{version("kiXJRIuE3qCDHiDd6HpQiCNnd-1CG06xbg4qDLjIIBA", "active", 3*time.Minute, 2*time.Minute, 0), version("rejected00000001", "rejected", 2*time.Hour, 0, 110*time.Minute)},
				Rotation: &rotation.Rotation{ID: "r2", Secret: "signing-key", StartedAt: *b.ago(3 * time.Minute), EndedAt: *b.ago(2 * time.Minute), Outcome: "active"}},
			{Name: "csrf-key", Kind: "inward", Source: "handed_in", Active: "c", Trouble: bad, Versions: []VersionStatus{version("cccccccccccccccc", "active", 400*day, 400*day, 0)}},
			{Name: "state-key", Kind: "inward", Source: "handed_in", Active: "s", Operator: "it is older than 90 d; put a new value into STATE_TOKEN_KEY_FILE", Versions: []VersionStatus{{ID: "ssssssssssssssss", State: "active"}}},
		},
		Replicas: []ReplicaStatus{
			{ID: "ro5p3cgnp2lpqcutqm2sgvncwz", Host: "keyway-7d9f", SeenAt: b.now, StartedAt: *b.ago(9 * day), Live: true, Holds: map[string][]string{"session-key": {"t44ftbrbizmxany7", "kxilwlchdyve6fk7"}}, Issues: map[string]string{"session-key": "t44ftbrbizmxany7"}},
			{ID: "b7aaaaaaaaaaaaaaaaaaaaaaaa", Host: "keyway-b7", SeenAt: *b.ago(3 * time.Second), StartedAt: *b.ago(day), Live: true, Lacks: []string{"client-secret pending000000001"}},
			{ID: "goneaaaaaaaaaaaaaaaaaaaaaa", Host: "keyway-b7", SeenAt: *b.ago(2 * time.Minute), StartedAt: *b.ago(2 * day)},
		},
	}, nil
}

func (b busy) Plan(_ context.Context, names []string, compromised bool) ([]Plan, error) {
	p := Plan{Secret: "session-key", From: "t44ftbrbizmxany7", Steps: []string{"make a new version", "wait until all 3 live replicas hold it"}, Notices: []string{"nobody"}, Blocked: []string{"b7"}, EarliestAt: b.ago(-5 * time.Minute)}
	if compromised {
		p.Notices = []string{"143 users are signed out", bad}
	}
	if len(names) == 1 {
		return []Plan{p}, nil
	}
	return []Plan{p, {Secret: "client-secret/demo", Refused: "hand in a new value: AUTH_CLIENT_SECRET_FILE"}}, nil
}

// crowded are the proofs of that fleet.
func crowded(now time.Time) *proofs {
	p := &proofs{report: &verify.Report{At: now.Add(-time.Hour), Checks: []verify.Check{
		{ID: "jwks", Name: "key set at the public address", OK: true, Saw: "2 keys", TookMS: 12},
		{ID: "signin", Name: "sign-in for https://app.example.com/auth/callback", Saw: "the provider answers invalid_redirect_uri", Cause: "the callback is not registered", Cure: "register https://app.example.com/auth/callback at the provider. " + bad, TookMS: 240},
		{ID: "bearer", Name: "bearer tokens", OK: true, Skipped: true, Saw: "no bearer route is configured"},
	}}}
	for i := range 240 {
		line, _ := json.Marshal(map[string]any{
			"seq": i + 1, "at": now.Add(time.Duration(i-240) * time.Minute), "type": []string{"rotation.asked", "rotation.made", "rotation.activated", "secret.trouble", "verify.finished", "admin.refused"}[i%6],
			"secret": []string{"session-key", "signing-key", ""}[i%3], "actor": bad, "detail": "what was seen, " + bad, "to": "t44ftbrbizmxany7",
		})
		p.lines = append(p.lines, string(line))
	}
	for i := range 900 {
		point := telemetry.Point{At: now.Truncate(time.Second).Add(time.Duration(i-900) * time.Second), Good: 180 + i%23, P50: 1, P99: 4 + float64(i%17)}
		if i > 500 && i < 540 {
			point.Refused, point.ClientErrors, point.ServerErrors = 14, 14, i%3
		}
		p.points = append(p.points, point)
	}
	return p
}

// axeCore is the accessibility checker that runs within a page.
func axeCore(t *testing.T) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(parts.Root(t), "test", "node", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Skipf("axe-core is missing: npm ci in test/node: %v", err)
	}
	return string(source)
}

// Signing in as a person does it, with a real browser's idea of cookies.
func TestSignInInChromium(t *testing.T) {
	at := httptest.NewUnstartedServer(nil)
	h := New(Options{Control: newFake(), Loopback: true, SignIn: provider{}, Token: func() (secret.Value, bool) { return secret.NewValue([]byte(goodToken)), true }})
	mux := http.NewServeMux()
	mux.Handle(Prefix, h)
	mux.Handle("/", h.Console())
	at.Config.Handler = mux
	at.Start()
	t.Cleanup(at.Close)
	r := browser.Run(t, `
		const found = [];
		const look = async (p, name) => {
			await shot(name, p);
			const debug = await p.context().newCDPSession(p);
			await debug.send('Runtime.evaluate', { expression: args.axe });
			const { result } = await debug.send('Runtime.evaluate', { expression: 'axe.run(document)', awaitPromise: true, returnByValue: true });
			found.push(...result.value.violations.map((v) => name + ' ' + v.impact + ' ' + v.id));
		};
		await page.goto(args.url);
		await page.waitForURL('**/console/sign-in');
		await look(page, 'console-sign-in');
		await page.getByLabel('Token of the admin API').fill('not the token');
		await page.keyboard.press('Enter');
		await page.getByText('That is not the token').waitFor();
		const dark = await open({ colorScheme: 'dark', viewport: { width: 390, height: 844 } });
		await dark.goto(args.url);
		await look(dark, 'console-sign-in-phone-dark');
		await page.getByLabel('Token of the admin API').fill(args.token);
		await page.keyboard.press('Enter');
		await page.locator('.lane[data-secret]').first().waitFor();
		const cookies = await page.context().cookies();
		const readable = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
		const next = await page.context().newPage(); // another tab, from another site's link
		await next.goto(args.url + 'console/sign-in');
		await next.locator('.lane[data-secret]').first().waitFor();
		await page.getByRole('button', { name: 'Sign out' }).click();
		await page.waitForURL('**/console/sign-in');
		await next.waitForURL('**/console/sign-in', { timeout: 20000 }); // its stream ends with the session
		return { found, cookies, readable };
	`, map[string]any{"url": at.URL + "/", "axe": axeCore(t), "token": goodToken})
	var got struct {
		Found    []string
		Readable string
		Cookies  []struct {
			Name, SameSite string
			HTTPOnly       bool `json:"httpOnly"`
		}
	}
	r.Decode(t, &got)
	if len(got.Found) > 0 {
		t.Errorf("accessibility: %v", got.Found)
	}
	if len(got.Cookies) != 1 || got.Cookies[0].Name != "keyway_console" || got.Cookies[0].SameSite != "Strict" || !got.Cookies[0].HTTPOnly {
		t.Errorf("cookies: %+v", got.Cookies)
	}
	if strings.Contains(got.Readable, "keyway_console") || strings.Contains(got.Readable, goodToken[:8]) {
		t.Errorf("scripts can read %s", got.Readable)
	}
	for _, e := range r.ConsoleErrors {
		if !strings.Contains(e, "status of 401") { // the wrong token, and the stream of who has signed out
			t.Errorf("the browser's console: %s", e)
		}
	}
}

// The page with much on it, at three widths: it shows what it is told as text,
// nothing is cut off, and what is wrong is said first.
func TestAFleetWithTroublesInChromium(t *testing.T) {
	axe := axeCore(t)
	now := time.Now()
	p := crowded(now)
	h := New(Options{Control: busy{newFake(), now}, Loopback: true, Verifier: p, Auditor: p, Charter: p})
	mux := http.NewServeMux()
	mux.Handle(Prefix, h)
	mux.Handle("/", h.Console())
	at := httptest.NewServer(mux)
	t.Cleanup(at.Close)
	r := browser.Run(t, `
		const found = {};
		for (const [name, options] of [
			['console-troubles', { viewport: { width: 1440, height: 900 } }],
			['console-troubles-tablet', { viewport: { width: 900, height: 1200 }, colorScheme: 'dark' }],
			['console-troubles-phone', { viewport: { width: 360, height: 780 }, isMobile: true }],
		]) {
			const other = await open(options);
			await other.goto(args.url);
			await other.locator('.lane[data-secret]').first().waitFor();
			await other.locator('.entry').first().waitFor();
			await other.waitForFunction(() => document.querySelector('#verdict').textContent.includes('request'));
			await shot(name, other);
			const debug = await other.context().newCDPSession(other);
			await debug.send('Runtime.evaluate', { expression: args.axe });
			const { result } = await debug.send('Runtime.evaluate', { expression: 'axe.run(document)', awaitPromise: true, returnByValue: true });
			found[name] = {
				title: await other.locator('h1').textContent(), taken: await other.evaluate(() => window.taken ?? 0), bold: await other.locator('main b, main img').count(),
				wide: await other.evaluate(() => document.documentElement.scrollWidth) - options.viewport.width,
				axe: result.value.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => v.id + ' ' + v.nodes.map((n) => n.target.join(' ')).slice(0, 3)),
			};
			if (name === 'console-troubles') {
				await other.locator('#record-filter').selectOption('signing-key');
				found.filtered = await other.locator('.entry .whose').allTextContents();
				await other.getByRole('button', { name: 'Show older' }).click();
				await other.waitForFunction((n) => document.querySelectorAll('.entry').length > n, found.filtered.length);
				await other.getByRole('button', { name: 'Rotate session-key…' }).click();
				await other.getByRole('checkbox').check();
				await other.getByText('143 users are signed out').waitFor();
				await other.screenshot({ path: args.screenshots + '/console-compromised.png' });
				found.text = await other.locator('dialog').textContent();
			}
			await other.context().close();
		}
		return found;
	`, map[string]any{"url": at.URL + "/", "axe": axe, "screenshots": filepath.Join(parts.Root(t), "out", "screenshots")})
	var got map[string]json.RawMessage
	r.Decode(t, &got)
	for _, name := range []string{"console-troubles", "console-troubles-tablet", "console-troubles-phone"} {
		var one struct {
			Title             string
			Taken, Bold, Wide int
			Axe               []string
		}
		if err := json.Unmarshal(got[name], &one); err != nil {
			t.Fatal(err)
		}
		if one.Title != "csrf-key: trouble with the source" || one.Taken != 0 || one.Bold != 0 || one.Wide > 0 || len(one.Axe) > 0 {
			t.Errorf("%s: %+v", name, one)
		}
	}
	if all := string(got["filtered"]); strings.Contains(all, "session-key") || !strings.Contains(all, "signing-key") {
		t.Errorf("filtered: %s", all)
	}
	if !strings.Contains(string(got["text"]), "Somebody will notice") {
		t.Errorf("the plan: %s", got["text"])
	}
	for _, e := range r.ConsoleErrors {
		t.Errorf("the browser's console: %s", e)
	}
}
