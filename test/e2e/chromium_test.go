package e2e

import (
	"regexp"
	"strings"
	"testing"

	"keyway/internal/testkit/browser"
	"keyway/internal/threat"
)

// What a user does on the demo's page, in a real browser. Screenshots are kept
// for people to look at.
func TestDemoPageInChromium(t *testing.T) {
	threat.Covers(t, 23)
	demo := startDemo(t)
	r := browser.Run(t, `
		const at = (id) => page.getByTestId(id);
		await page.goto(args.url);
		await at('sign-in').waitFor();
		await shot('demo-signed-out');

		await at('sign-in').click();
		await page.fill('[name=username]', 'ada');
		await page.fill('[name=password]', 'demo');
		await shot('demo-idp');
		await page.click('button[type=submit]');
		await at('user-name').waitFor();
		const name = await at('user-name').textContent();
		const ends = await at('session-ends').textContent();

		await at('note-text').fill('Buy milk');
		await at('post-note').click();
		await at('result').getByText('201', { exact: true }).waitFor();
		await at('get-notes').click();
		await at('result').getByText('200', { exact: true }).waitFor();
		const notes = await page.getByText('Buy milk').count();
		await at('post-without-csrf').click();
		await at('result').getByText('403', { exact: true }).waitFor();
		const refused = await at('result').textContent();

		const may = await at('may-create-note').textContent();
		const echo = await at('echo').textContent();
		if (await at('ticks-start').getAttribute('aria-disabled') !== 'true') await at('ticks-start').click();
		await page.waitForFunction(() => Number(document.querySelector('[data-testid=tick-count]').textContent) >= 3);
		await shot('demo-desktop', page);

		const state = await page.context().storageState();
		for (const [name, options] of [
			['demo-phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
			['demo-dark', { colorScheme: 'dark' }],
			['demo-phone-dark', { viewport: { width: 390, height: 844 }, isMobile: true, colorScheme: 'dark' }],
		]) {
			const other = await open({ ...options, storageState: state });
			await other.goto(args.url);
			await other.getByTestId('user-name').waitFor();
			await other.getByTestId('echo').getByText('X-User-Id').waitFor();
			await shot(name, other);
			const wide = await other.evaluate(() => document.documentElement.scrollWidth > innerWidth);
			if (wide) throw new Error(name + ' scrolls sideways');
			await other.context().close();
		}

		const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
		const html = await page.content();
		await at('sign-out').click();
		const asked = page.locator('form[method=post] button'); // the provider may ask whether she means it
		await at('sign-in').or(asked).first().waitFor();
		if (await asked.count()) await asked.click();
		await at('sign-in').waitFor();
		await shot('demo-signed-out-again', page);
		const after = await page.evaluate(() => fetch('/auth/session').then((r) => r.json()));
		return { name, ends, notes, refused, may, echo, stored, html, after };
	`, map[string]any{"url": demo.URL})
	var got struct {
		Name, Ends, Refused, May, Echo, Stored, HTML string
		Notes                                        int
		After                                        map[string]any
	}
	r.Decode(t, &got)
	if got.Name != "Ada Lovelace" || got.Notes == 0 || !regexp.MustCompile(`\d:\d\d`).MatchString(got.Ends) {
		t.Errorf("the page shows %q, %d notes, session ends in %q", got.Name, got.Notes, got.Ends)
	}
	if !strings.Contains(got.Refused, "csrf_failed") {
		t.Errorf("the refusal: %q", got.Refused)
	}
	if !strings.Contains(got.May, "allowed") {
		t.Errorf("whether she may write a note: %q", got.May)
	}
	if !strings.Contains(got.Echo, "No cookie arrived") || !strings.Contains(got.Echo, "An access token arrived") {
		t.Errorf("what the API saw: %q", got.Echo)
	}
	for where, text := range map[string]string{"storage or readable cookies": got.Stored, "the page": got.HTML} {
		if aJWT.MatchString(text) || strings.Contains(text, "bff_session") {
			t.Errorf("%s: a token or the session cookie in %q", where, text)
		}
	}
	if got.After["authenticated"] != false {
		t.Errorf("after signing out: %v", got.After)
	}
	wantConsole(t, r, "403")
	if len(r.Screenshots) < 6 {
		t.Errorf("screenshots: %v", r.Screenshots)
	}
}

// wantConsole fails the test if the pages have reported anything but refused
// requests of the given status.
func wantConsole(t testing.TB, r browser.Result, status string) {
	t.Helper()
	for _, e := range r.ConsoleErrors {
		if status == "" || !strings.Contains(e, "status of "+status) {
			t.Errorf("the browser's console: %s", e)
		}
	}
}

// Cookies with Secure, __Host- and SameSite, as a real browser takes them, and a
// provider that we did not write.
func TestSignInAtOIDCProviderInChromium(t *testing.T) {
	w := newWorld(t, setup{Method: "private_key_jwt"})
	gateway := w.serve(t, nil)
	r := browser.Run(t, `
		await page.goto(args.url + '/auth/login?return_to=/page');
		await page.fill('[name=username]', 'grace');
		await page.fill('[name=password]', 'demo');
		await shot('oidc-provider');
		await page.click('button[type=submit], input[type=submit]');
		for (let i = 0; i < 3 && !page.url().startsWith(args.url); i++) {
			await page.click('button');
		}
		await page.waitForURL(args.url + '/page');
		const session = await page.evaluate(() => fetch('/auth/session').then((r) => r.json()));
		const cookies = await page.context().cookies(args.url);
		const posted = await page.evaluate(async () => {
			const headers = { 'Content-Type': 'application/json' };
			const body = '{"text":"from Chromium"}';
			const refused = await fetch('/api/notes', { method: 'POST', headers, body });
			const { csrf_token } = await (await fetch('/auth/csrf')).json();
			headers['X-CSRF-Token'] = csrf_token;
			const accepted = await fetch('/api/notes', { method: 'POST', headers, body });
			return [refused.status, accepted.status];
		});
		return { session, cookies, posted, readable: await page.evaluate(() => document.cookie) };
	`, map[string]any{"url": gateway.URL})
	var got struct {
		Session map[string]any
		Cookies []struct {
			Name, SameSite, Path string
			HTTPOnly             bool `json:"httpOnly"`
			Secure               bool
		}
		Posted   []int
		Readable string
	}
	r.Decode(t, &got)
	user, _ := got.Session["user"].(map[string]any)
	if user["name"] != "Grace Hopper" {
		t.Errorf("session: %v", got.Session)
	}
	if len(got.Posted) != 2 || got.Posted[0] != 403 || got.Posted[1] != 201 {
		t.Errorf("POST without and with the CSRF token: %v", got.Posted)
	}
	found := false
	for _, c := range got.Cookies {
		if c.Name == "__Host-bff_session" {
			found = c.HTTPOnly && c.Secure && c.SameSite == "Lax" && c.Path == "/"
		}
	}
	if !found {
		t.Errorf("cookies: %+v", got.Cookies)
	}
	if strings.Contains(got.Readable, "bff_session") || !strings.Contains(got.Readable, "bff_csrf") {
		t.Errorf("script can read %q", got.Readable)
	}
	for _, e := range r.ConsoleErrors {
		if !strings.Contains(e, "status of 403") && !strings.Contains(e, "/favicon.ico") {
			t.Errorf("the browser's console: %s", e)
		}
	}
}
