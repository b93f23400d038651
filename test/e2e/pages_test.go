package e2e

import (
	"fmt"
	"strings"
	"testing"

	"keyway/internal/testkit/browser"
	"keyway/internal/threat"
)

// A provider on another site, and strict cookies: the way back is a redirect that the
// other site began, and no browser sends a strict cookie along with it.
func TestStrictCookiesInChromium(t *testing.T) {
	w := newWorld(t, setup{Host: "localhost", Env: Env{"BFF_COOKIE_SAMESITE": "Strict"}})
	gateway := w.serve(t, nil)
	r := browser.Run(t, `
		const answers = [];
		page.on('response', (r) => {
			if (r.url().startsWith(args.url) && r.request().isNavigationRequest()) answers.push(r.status() + ' ' + new URL(r.url()).pathname);
		});
		await page.goto(args.url + '/auth/login?return_to=/api/notes');
		const before = await page.context().cookies(args.url);
		await page.fill('[name=username]', 'grace');
		await page.fill('[name=password]', 'demo');
		await page.click('button[type=submit], input[type=submit]');
		for (let i = 0; i < 3 && !page.url().startsWith(args.url); i++) {
			await page.click('button');
		}
		await page.waitForURL(args.url + '/api/notes');
		await page.reload();
		const again = answers.at(-1);
		// By a link of another site: nothing of ours may be sent along with that.
		await page.goto(args.elsewhere);
		await page.evaluate((url) => { location.href = url; }, args.url + '/auth/login?return_to=/api/notes');
		await page.waitForURL(args.url + '/api/notes');
		const session = await page.evaluate(() => fetch('/auth/session').then((r) => r.json()));
		return { before, answers, again, session, after: await page.context().cookies(args.url) };
	`, map[string]any{"url": strings.Replace(gateway.URL, "127.0.0.1", "localhost", 1), "elsewhere": w.IdP.Issuer + "/.well-known/openid-configuration"})
	var got struct {
		Before, After []struct{ Name, SameSite string }
		Answers       []string
		Again         string
		Session       map[string]any
	}
	r.Decode(t, &got)
	way := "303 /auth/login,200 /auth/callback,200 /api/notes"
	if all := strings.Join(got.Answers, ","); all != way+",200 /api/notes,"+way {
		t.Errorf("the browser saw %s", all)
	}
	if got.Again != "200 /api/notes" || got.Session["authenticated"] != true {
		t.Errorf("reloaded: %s; the session: %v", got.Again, got.Session)
	}
	for _, c := range got.Before { // it has to arrive at the callback, which strict ones don't
		if c.SameSite != "Lax" || !strings.HasPrefix(c.Name, "__Host-bff_login_") {
			t.Errorf("while the sign-in is under way: %+v", c)
		}
	}
	if len(got.Before) != 1 {
		t.Errorf("while the sign-in is under way: %v", got.Before)
	}
	for _, c := range got.After {
		if c.SameSite != "Strict" {
			t.Errorf("at the end: %+v", c)
		}
	}
}

// Whoever can't be signed in or out is told so on a page, with a way on.
func TestFailurePagesInChromium(t *testing.T) {
	threat.Covers(t, 13)
	w := newWorld(t, setup{})
	gateway := w.serve(t, nil)
	r := browser.Run(t, `
		const seen = {};
		for (const [name, options] of [
			['failed', {}], ['failed-dark', { colorScheme: 'dark' }],
			['failed-phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
			['failed-phone-dark', { viewport: { width: 320, height: 640 }, isMobile: true, colorScheme: 'dark' }],
		]) {
			const other = await open(options);
			await other.goto(args.url + '/auth/callback?error=access_denied&error_description=EVIL&state=x');
			await shot(name, other);
			if (await other.evaluate(() => document.documentElement.scrollWidth > innerWidth)) throw new Error(name + ' scrolls sideways');
			seen[name] = await other.evaluate(() => getComputedStyle(document.querySelector('main')).backgroundColor);
			await other.context().close();
		}
		const answer = await page.goto(args.url + '/auth/logout?everywhere=EVIL');
		await shot('failed-sign-out', page);
		const out = await page.innerText('main');
		await page.goto(args.url + '/auth/callback?code=EVIL&state=EVIL&return_to=https://evil.example');
		const text = await page.innerText('main');
		await page.goto(args.url + '/page');
		const fetched = await page.evaluate(() => fetch('/auth/callback?code=a&state=b').then(async (r) => [r.status, r.headers.get('Content-Type'), (await r.json()).code]));
		await page.goBack();
		await page.getByRole('link', { name: 'Sign in again' }).click();
		await page.waitForSelector('[name=password]');
		return { seen, out, text, fetched, status: answer.status(), at: new URL(page.url()).origin };
	`, map[string]any{"url": gateway.URL})
	var got struct {
		Seen          map[string]string
		Out, Text, At string
		Status        int
		Fetched       []any
	}
	r.Decode(t, &got)
	if len(got.Seen) != 4 || got.Seen["failed"] != "rgb(255, 255, 255)" || got.Seen["failed-dark"] == got.Seen["failed"] {
		t.Errorf("the card is %v: the style is not the page's own", got.Seen)
	}
	for _, text := range []string{got.Out, got.Text} {
		if strings.Contains(text, "EVIL") || strings.Contains(text, "evil") {
			t.Errorf("the page shows what was sent: %s", text)
		}
	}
	if !strings.Contains(got.Text, "login_failed") || !strings.Contains(got.Text, "can't be finished") || got.At != w.IdP.Issuer {
		t.Errorf("the page: %s; the link leads to %s", got.Text, got.At)
	}
	if fmt.Sprint(got.Fetched) != "[400 application/problem+json login_failed]" {
		t.Errorf("a script reads %v", got.Fetched)
	}
	if len(r.Screenshots) != 5 {
		t.Errorf("screenshots: %v", r.Screenshots)
	}
	for _, e := range r.ConsoleErrors {
		if !strings.Contains(e, "status of 4") { // the page's own, and /favicon.ico of the world's
			t.Errorf("the browser's console: %s", e)
		}
	}
}
