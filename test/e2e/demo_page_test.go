package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/testkit/browser"
)

// What grace sees, who may read notes and not write them: why the form is closed, that
// who decides is the gateway, and what changes when the policies do. Screenshots are
// kept for people to look at.
func TestDemoPageForWhoMayOnlyRead(t *testing.T) {
	axe := axeCore(t)
	demo := startDemo(t)
	// A policy of somebody's own, beside those that are delivered.
	file := filepath.Join(policiesFolder(t, demo), "mine.cedar")
	if err := os.WriteFile(file+".ready", []byte(`permit (principal in role::"viewer", action == Action::"create", resource is note);`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := browser.Run(t, `const { rename } = await import('node:fs/promises');`+audited+`
		const at = (id) => page.getByTestId(id);
		const found = [];
		const signIn = async (name) => {
			await at('sign-in').click();
			await page.fill('[name=username]', name);
			await page.fill('[name=password]', 'demo');
			await page.click('button[type=submit]');
			await at('decisions').waitFor();
		};
		const shown = () => at('decisions').locator('li').evaluateAll((all) => Object.fromEntries(all.map((one) =>
			[one.dataset.testid.replace('may-', ''), one.querySelector('.verdict').textContent])));

		await page.goto(args.url);
		await signIn('grace');
		await at('may-not-write').waitFor();
		const roles = await at('role').allTextContents();
		const before = await shown();
		const why = await at('may-not-write').textContent();
		const input = at('note-text');
		const closed = {
			field: await input.getAttribute('aria-disabled'), typed: await input.isEditable(),
			button: await at('post-note').getAttribute('aria-disabled'),
			described: await input.evaluate((one) => document.getElementById(one.getAttribute('aria-describedby'))?.textContent),
		};
		const calls = [];
		page.on('request', (r) => r.method() === 'POST' && calls.push(r.url()));
		// By keyboard: the button tells why it does nothing, and does nothing.
		await input.focus();
		await page.keyboard.press('Enter');
		await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		const pressed = await page.evaluate(() => document.activeElement.dataset.testid);
		await at('get-notes').click();
		await at('result').getByText('200', { exact: true }).waitFor();
		const none = calls.length;

		await at('try-anyway').click();
		await at('result').getByText('403', { exact: true }).waitFor();
		const refused = await at('result').textContent();
		await shot('demo-viewer-desktop', page);
		found.push(...await audited(page, 'refused'));

		const state = await page.context().storageState();
		for (const [name, options] of [
			['demo-viewer-phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
			['demo-viewer-dark', { colorScheme: 'dark' }],
			['demo-viewer-phone-dark', { viewport: { width: 390, height: 844 }, isMobile: true, colorScheme: 'dark' }],
			['demo-viewer-narrow', { viewport: { width: 320, height: 640 } }],
		]) {
			const other = await open({ ...options, storageState: state });
			await other.goto(args.url);
			await other.getByTestId('decisions').waitFor();
			await other.getByTestId('try-anyway').click();
			await other.getByTestId('result').getByText('403', { exact: true }).waitFor();
			await other.getByTestId('echo').getByText('X-User-Id').waitFor();
			await shot(name, other);
			found.push(...await audited(other, name));
			if (await other.evaluate(() => document.documentElement.scrollWidth > innerWidth)) throw new Error(name + ' scrolls sideways');
			await other.context().close();
		}

		// The policies change, and the page asks again.
		await rename(args.file + '.ready', args.file);
		for (let i = 0; i < 100 && await at('may-create-note').locator('.verdict').textContent() !== 'allowed'; i++) {
			await at('ask-again').click();
			await page.waitForTimeout(100);
		}
		const after = await shown();
		await at('may-not-write').waitFor({ state: 'detached' });
		await input.fill('Now I may');
		await at('post-note').click();
		await at('result').getByText('201', { exact: true }).waitFor();

		// And back, while the form is open: the page learns it from the refusal.
		await rename(args.file, args.file + '.ready');
		for (let i = 0; i < 100 && !await at('may-not-write').isVisible(); i++) {
			await input.fill('May I still?');
			await at('post-note').click();
			await page.waitForFunction(() => document.querySelector('form[aria-busy]').getAttribute('aria-busy') === 'false');
			await page.waitForTimeout(100);
		}
		await at('may-not-write').waitFor();
		return { roles, before, why, closed, pressed, none, refused, after, found };
	`, map[string]any{"url": demo.URL, "axe": axe, "file": file})
	var got struct {
		Roles         []string
		Before, After map[string]string
		Why, Pressed  string
		Refused       string
		None          int
		Closed        struct {
			Field, Button, Described string
			Typed                    bool
		}
		Found []finding
	}
	r.Decode(t, &got)
	if len(got.Roles) != 1 || got.Roles[0] != "viewer" {
		t.Errorf("roles: %v", got.Roles)
	}
	for what, want := range map[string][2]string{
		"read-note": {"allowed", "allowed"}, "create-note": {"refused", "allowed"},
		"survey-note": {"refused", "refused"}, "read-ticks": {"allowed", "allowed"},
	} {
		if got := [2]string{got.Before[what], got.After[what]}; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	if c := got.Closed; c.Field != "true" || c.Button != "true" || c.Typed || c.Described != got.Why || !strings.Contains(got.Why, "policies") {
		t.Errorf("the form: %+v, and why: %q", c, got.Why)
	}
	if got.Pressed != "post-note" || got.None != 0 {
		t.Errorf("the closed form has posted %d times; %q has the focus", got.None, got.Pressed)
	}
	if !strings.Contains(got.Refused, "forbidden") || !strings.Contains(got.Refused, "as it should be") {
		t.Errorf("the refusal: %q", got.Refused)
	}
	wantAccessible(t, got.Found)
	wantConsole(t, r, "403")
}

// Who signs out in one tab sees so in the other, where a stream ticks, at once: by
// asking, and not by the stream's next try, which the browser makes some seconds
// later and this test not at all.
func TestDemoPageSignedOutInAnotherTab(t *testing.T) {
	demo := startDemo(t)
	browser.Run(t, `
		const at = (id) => page.getByTestId(id);
		await page.goto(args.url);
		await at('sign-in').click();
		await page.fill('[name=username]', 'ada');
		await page.fill('[name=password]', 'demo');
		await page.click('button[type=submit]');
		await at('ticks-start').click();
		await page.waitForFunction(() => Number(document.querySelector('[data-testid=tick-count]').textContent) >= 1);
		await page.route('**/api/ticks', (route) => route.abort());

		const other = await page.context().newPage();
		await other.goto(args.url);
		await other.getByTestId('sign-out').click();
		await page.getByText('Your session has ended').waitFor();
		await at('sign-in').waitFor();
	`, map[string]any{"url": demo.URL})
}

// What is long must leave what is beside it where it is, on a phone: a note its time,
// and the reason why a sign-out failed its button.
func TestDemoPageOnAPhoneWhenWordsAreLong(t *testing.T) {
	demo := startDemo(t)
	r := browser.Run(t, `
		const phone = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
		const at = (id) => phone.getByTestId(id);
		await phone.goto(args.url);
		await at('sign-in').click();
		await phone.fill('[name=username]', 'ada');
		await phone.fill('[name=password]', 'demo');
		await phone.click('button[type=submit]');
		await at('note-text').fill('One word: ' + 'x'.repeat(150));
		await at('post-note').click();
		await at('notes-list').getByText('One word').waitFor();
		const { height } = await at('notes-list').locator('time').boundingBox();

		await phone.route('**/auth/csrf', (route) => route.abort());
		await at('sign-out').click();
		await phone.getByText('Not signed out').waitFor();
		const button = await at('sign-out').boundingBox();
		await shot('demo-phone-not-signed-out', phone);
		return { time: height, top: button.y, right: button.x + button.width };
	`, map[string]any{"url": demo.URL})
	var got struct{ Time, Top, Right float64 }
	r.Decode(t, &got)
	if got.Time > 30 {
		t.Errorf("the time of a note is %v pixels high, and on more than one line", got.Time)
	}
	if got.Top < 4 || got.Right > 390 {
		t.Errorf("the button to sign out ends at %v of 390 pixels, and begins %v from the top", got.Right, got.Top)
	}
}
