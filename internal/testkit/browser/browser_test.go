package browser_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"keyway/internal/testkit/browser"
)

func TestRun(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<!doctype html><title>Hi</title><button>Press</button><output></output>
<script>document.querySelector('button').onclick = () => { document.querySelector('output').textContent = 'pressed'; missing(); }</script>`)
	}))
	defer site.Close()

	r := browser.Run(t, `
		await page.goto(args.url);
		await page.getByRole('button', { name: 'Press' }).click();
		await shot('testkit-self-test');
		const dark = await open({ colorScheme: 'dark', viewport: { width: 390, height: 844 } });
		await dark.goto(args.url);
		return {
			text: await page.locator('output').textContent(),
			dark: await dark.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches),
			width: await dark.evaluate(() => innerWidth),
		};`, map[string]any{"url": site.URL})
	var got struct {
		Text  string
		Dark  bool
		Width int
	}
	r.Decode(t, &got)
	if got.Text != "pressed" || !got.Dark || got.Width == 0 {
		t.Errorf("the script saw %+v", got)
	}
	if all := strings.Join(r.ConsoleErrors, "\n"); !strings.Contains(all, "missing is not defined") {
		t.Errorf("console errors %q lack the uncaught exception", all)
	}
	if len(r.Screenshots) != 1 {
		t.Fatalf("screenshots %v, want one", r.Screenshots)
	}
	if b, err := os.ReadFile(r.Screenshots[0]); err != nil || !strings.HasPrefix(string(b), "\x89PNG") {
		t.Errorf("screenshot: %v", err)
	}
}
