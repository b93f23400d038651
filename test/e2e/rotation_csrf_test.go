package e2e

import (
	"testing"

	"keyway/internal/testkit/browser"
	"keyway/internal/threat"
)

// The key of CSRF tokens turns while a page is open in a real browser: its next
// change is accepted with the token that it has, and it is given a new one.
func TestRotationCSRFKeyWhileAPageIsOpen(t *testing.T) {
	threat.Covers(t, 61)
	t.Parallel()
	w := newWorld(t, setup{})
	w.settle(t, quick)
	gateway := w.serve(t, nil)
	before := statusOf(t, gateway, csrfKeyName).Active
	r := browser.Run(t, `
		await page.goto(args.url + '/auth/login?return_to=/page');
		await page.fill('[name=username]', 'grace');
		await page.fill('[name=password]', 'demo');
		await page.click('button[type=submit], input[type=submit]');
		for (let i = 0; i < 3 && !page.url().startsWith(args.url); i++) await page.click('button');
		await page.waitForURL(args.url + '/page');

		// What a page does: it fetches a token once, and has it as long as it is open.
		await page.evaluate(async () => {
			window.token = (await (await fetch('/auth/csrf')).json()).csrf_token;
			window.readable = () => /bff_csrf=([^;]*)/.exec(document.cookie)?.[1];
			window.post = (token) => fetch('/api/notes', {
				method: 'POST', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': token }, body: '{"text":"x"}',
			}).then((r) => r.status);
		});
		const turn = async (compromised) => {
			const asked = await (await fetch(args.admin + '/admin/v1/rotations', {
				method: 'POST', headers: { 'Content-Type': 'application/json' },
				body: JSON.stringify({ secrets: ['csrf-key'], compromised }),
			})).json();
			const id = asked.rotations[0].id;
			const done = await (await fetch(args.admin + '/admin/v1/rotations?wait=20&id=' + id)).json();
			return done.rotations[0].outcome;
		};
		const outcomes = [await turn(false)];
		const got = await page.evaluate(async () => {
			const cookieBefore = readable();
			const oldToken = await post(token);
			await fetch('/api/notes');
			const cookieAfter = readable();
			return { cookieBefore, cookieAfter, old: token, oldToken, newToken: await post(cookieAfter), oldTokenAgain: await post(token) };
		});
		// A second time, with the page still open, and then without an overlap.
		outcomes.push(await turn(false));
		got.twoTurnsLater = await page.evaluate(() => post(token));
		outcomes.push(await turn(true));
		got.compromised = await page.evaluate(() => post(token));
		got.afterIt = await page.evaluate(async () => {
			await fetch('/api/notes');
			return post((await (await fetch('/auth/csrf')).json()).csrf_token);
		});
		got.session = (await page.evaluate(() => fetch('/auth/session').then((r) => r.json()))).authenticated;
		return { ...got, outcomes };
	`, map[string]any{"url": gateway.URL, "admin": gateway.AdminURL})
	var got struct {
		CookieBefore, CookieAfter, Old                                         string
		OldToken, NewToken, OldTokenAgain, TwoTurnsLater, Compromised, AfterIt int
		Session                                                                bool
		Outcomes                                                               []string
	}
	r.Decode(t, &got)
	for _, o := range got.Outcomes {
		if o != "active" {
			t.Fatalf("outcomes of the rotations: %v", got.Outcomes)
		}
	}
	if got.OldToken != 201 {
		t.Errorf("the open page's next POST, with the token that it had: %d", got.OldToken)
	}
	if got.CookieBefore != got.Old || got.CookieAfter == "" || got.CookieAfter == got.CookieBefore {
		t.Errorf("the page's token %q, after the next request %q", got.CookieBefore, got.CookieAfter)
	}
	if got.NewToken != 201 || got.OldTokenAgain != 201 || got.TwoTurnsLater != 201 {
		t.Errorf("POST with the new token: %d; with the old one again: %d; after another turn: %d", got.NewToken, got.OldTokenAgain, got.TwoTurnsLater)
	}
	if got.Compromised != 403 || got.AfterIt != 201 || !got.Session {
		t.Errorf("when the key is compromised: %d, then %d with a new token; signed in: %v", got.Compromised, got.AfterIt, got.Session)
	}
	if s := statusOf(t, gateway, csrfKeyName); s.Active == before || len(s.Versions) != 4 {
		t.Errorf("status: %+v", s)
	}
}
