package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keyway/internal/testkit/browser"
	"keyway/internal/testkit/parts"
)

// axeCore is the accessibility checker that runs within a page.
func axeCore(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(parts.Root(t), "test", "node", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Skipf("axe-core is missing: npm ci in test/node: %v", err)
	}
	return string(source)
}

// audited is in the script of each test: what axe-core finds on a page, told apart by
// how much it matters. It is put there beside the page's own scripts, which its
// policy would not allow.
const audited = `
	const audited = async (page, where) => {
		const debug = await page.context().newCDPSession(page);
		await debug.send('Runtime.evaluate', { expression: args.axe });
		const { result } = await debug.send('Runtime.evaluate', { expression: 'axe.run(document)', awaitPromise: true, returnByValue: true });
		return result.value.violations.map((v) => ({ where, impact: v.impact, id: v.id, nodes: v.nodes.map((n) => n.target.join(' ') + ': ' + (n.any[0]?.message ?? n.help ?? '')).slice(0, 3) }));
	};
`

type finding struct {
	Where, Impact, ID string
	Nodes             []string
}

func wantAccessible(t testing.TB, findings []finding) {
	t.Helper()
	for _, f := range findings {
		if f.Impact == "serious" || f.Impact == "critical" {
			t.Errorf("%s: %s: %s: %s", f.Where, f.Impact, f.ID, strings.Join(f.Nodes, "; "))
		} else {
			t.Logf("%s: %s: %s: %s", f.Where, f.Impact, f.ID, strings.Join(f.Nodes, "; "))
		}
	}
}

// Somebody opens the console of the demo, starts the load, has everything rotated,
// and sees the curve stay as it was. Screenshots are kept for people to look at.
func TestConsoleRotatesEverythingUnderLoad(t *testing.T) {
	axe := axeCore(t)
	demo := startDemo(t)
	r := browser.Run(t, audited+`
		const status = () => page.evaluate(() => fetch('/admin/v1/status').then((r) => r.json()));
		const actives = (s) => Object.fromEntries(s.secrets.map((one) => [one.name, one.active]));
		const found = [];
		await page.setViewportSize({ width: 1440, height: 900 });
		await page.goto(args.url);
		await page.locator('.lane[data-secret]').first().waitFor();
		await page.locator('#link[data-state=open]').waitFor();
		const before = actives(await status());
		await shot('console-at-rest', page);
		found.push(...await audited(page, 'at rest'));

		await page.getByRole('button', { name: 'Start load' }).click();
		await page.waitForFunction(() => Number(document.querySelector('#now-good').textContent) > 20);
		await page.waitForTimeout(args.look); // so that there is something of before to see in the picture
		await page.getByRole('button', { name: 'Rotate everything…' }).click();
		const dialog = page.getByRole('dialog');
		await dialog.getByText('Nobody will notice.').waitFor();
		const plans = await dialog.locator('.plan').count();
		await page.screenshot({ path: args.screenshots + '/console-plan.png' });
		found.push(...await audited(page, 'the plan'));
		await page.keyboard.press('Escape');
		const cancelled = actives(await status());
		await page.getByRole('button', { name: 'Rotate everything…' }).click();
		await dialog.getByRole('button', { name: /^Rotate \d+ secrets now$/ }).click();
		await page.waitForFunction((before) => fetch('/admin/v1/status').then((r) => r.json()).then((s) =>
			s.secrets.every((one) => one.active !== before[one.name])), before, { polling: 500, timeout: 60000 });
		await page.getByText(/have new versions in use/).waitFor();
		const after = actives(await status());
		await page.waitForTimeout(args.look);
		const series = await page.evaluate(() => fetch('/admin/v1/series').then((r) => r.json()));
		const verdict = await page.locator('#verdict').textContent();

		await page.getByRole('button', { name: 'Verify', exact: true }).click();
		await dialog.getByRole('button', { name: 'Verify now' }).click();
		await dialog.waitFor({ state: 'hidden', timeout: 60000 });
		const checked = await page.locator('#check-verdict').textContent();
		await page.keyboard.press('Escape'); // what was said is heard
		await shot('console-desktop', page);
		found.push(...await audited(page, 'light'));

		// Rolling one back, by keyboard alone.
		const back = page.getByRole('button', { name: 'Roll back csrf-key…' });
		await back.focus();
		await page.keyboard.press('Enter');
		await dialog.getByText('is used again at once').waitFor();
		await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await page.getByText(/csrf-key: the version before is in use again/).waitFor();
		const rolled = actives(await status())['csrf-key'];

		await page.getByRole('button', { name: 'As a table' }).first().click();
		const rows = await page.locator('#versions tr').count();
		found.push(...await audited(page, 'the table'));
		await page.getByRole('button', { name: 'As a table' }).first().click();

		for (const [name, options] of [
			['console-dark', { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' }],
			['console-phone', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
			['console-phone-dark', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: 'dark' }],
		]) {
			const other = await open(options);
			await other.goto(args.url);
			await other.locator('.lane[data-secret]').first().waitFor();
			await other.waitForFunction(() => /request/.test(document.querySelector('#verdict').textContent));
			await other.waitForTimeout(1500);
			await shot(name, other);
			found.push(...await audited(other, name));
			if (await other.evaluate(() => document.documentElement.scrollWidth) > options.viewport.width) throw new Error(name + ' scrolls sideways');
			await other.context().close();
		}
		await page.getByRole('button', { name: 'Stop load' }).click();
		const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
		return { before, cancelled, after, rolled, plans, rows, verdict, checked, series, found, stored };
	`, map[string]any{"url": demo.AdminURL + "/", "axe": axe, "look": 4000, "screenshots": filepath.Join(parts.Root(t), "out", "screenshots")})
	var got struct {
		Before, Cancelled, After         map[string]string
		Rolled, Verdict, Checked, Stored string
		Plans, Rows                      int
		Series                           struct {
			Points []struct {
				Good, Refused int
				ClientErrors  int `json:"client_errors"`
				ServerErrors  int `json:"server_errors"`
			}
		}
		Found []finding
	}
	r.Decode(t, &got)
	if len(got.Before) != len(demoSecrets) || got.Plans != len(demoSecrets) {
		t.Errorf("%d secrets, %d plans, want %d", len(got.Before), got.Plans, len(demoSecrets))
	}
	for name, active := range got.Before {
		if got.Cancelled[name] != active {
			t.Errorf("%s turned, though nobody said yes", name)
		}
		if got.After[name] == active || got.After[name] == "" {
			t.Errorf("%s: %s was active before and %s after", name, active, got.After[name])
		}
	}
	if got.Rolled != got.Before["csrf-key"] {
		t.Errorf("rolled back to %s, want %s", got.Rolled, got.Before["csrf-key"])
	}
	requests := 0
	for _, p := range got.Series.Points {
		requests += p.Good
		if p.ClientErrors+p.ServerErrors+p.Refused > 0 {
			t.Errorf("the curve has failed requests: %+v", p)
		}
	}
	if requests < 500 || !strings.Contains(got.Verdict, "none refused, none failed") {
		t.Errorf("%d requests; the page says %q", requests, got.Verdict)
	}
	if got.Rows < 2*len(demoSecrets) {
		t.Errorf("the table has %d rows", got.Rows)
	}
	t.Logf("%d requests; %s; %s", requests, got.Verdict, got.Checked)
	if aJWT.MatchString(got.Stored) || strings.Contains(got.Stored, "session") {
		t.Errorf("the browser keeps %s", got.Stored)
	}
	wantAccessible(t, got.Found)
	wantConsole(t, r, "")
}
