package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// probe is a script that a copy of the page gets: it tells the frame around it what was laid out. Figures tell how many
// texts they have, of the title, the axes and the legend; the least of all texts is in pixels of the screen.
const probe = `<script>addEventListener("load", () => {
  const root = document.documentElement, figures = [...document.querySelectorAll("figure")];
  let least = 1e9, bare = [];
  for (const f of figures) {
    const svg = f.querySelector("svg"), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width, view = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const bold = texts.filter(t => t.style.fontWeight == "bold").length, plain = texts.length - bold;
    if (bold < 1 || plain < 4) bare.push(f.id);
    for (const t of texts) {
      least = Math.min(least, scale * parseFloat(t.style.fontSize));
      const b = t.getBoundingClientRect();
      if (b.right > view.right + 1 || b.left < view.left - 1) bare.push(f.id + ":" + t.textContent);
    }
  }
  parent.postMessage([innerWidth, root.scrollWidth, figures.length, least.toFixed(2), bare.length, bare.join("; ")].join(" "), "*");
})</script>`

// frame shows the page at a width that a browser's window may not have, and keeps what it tells as an attribute.
const frame = `<!doctype html><script>addEventListener("message", e => document.documentElement.dataset.probe = e.data)</script>
<iframe src="probed.html" width="%d" height="1200" style="border: 0"></iframe>`

// TestBrowser lays the page out in a headless browser, as wide as a telephone and as a desk: nothing may leave the page
// sideways, every figure has its title, axes and legend inside, and no text of a figure is under 11 pixels. It runs where
// SHOAL_BROWSER names a browser of Chromium's family, or "find".
func TestBrowser(t *testing.T) {
	browser := os.Getenv("SHOAL_BROWSER")
	if browser == "" {
		t.Skip("SHOAL_BROWSER is not set; make browser sets it")
	}
	if browser == "find" {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
			if path, err := exec.LookPath(name); err == nil {
				browser = path
				break
			}
		}
		if browser == "find" {
			t.Skip("no chromium, chromium-browser, google-chrome or chrome is installed; nothing was looked at")
		}
	}
	dir := t.TempDir()
	if err := Write(dir, made([]int{1, 2, 4, 8, 24, 48}, []string{"strided", "shuffled"}, 3, 20), theirs()); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil {
		t.Fatal(err)
	}
	probed := filepath.Join(dir, "probed.html")
	if err := os.WriteFile(probed, bytes.Replace(page, []byte("</body>"), []byte(probe+"</body>"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{400, 1280} {
		layOut(t, browser, dir, width)
	}
}

// layOut asks the browser for the page at a width, and holds it to what the probe says.
func layOut(t *testing.T, browser, dir string, width int) {
	t.Helper()
	page := filepath.Join(dir, "frame.html")
	if err := os.WriteFile(page, fmt.Appendf(nil, frame, width), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--window-size=1400,1300", "--virtual-time-budget=3000", "--dump-dom", "file://"+page)
	dom, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s at %d pixels: %v", browser, width, err)
	}
	m := regexp.MustCompile(`data-probe="(\d+) (\d+) (\d+) ([0-9.]+) (\d+) ([^"]*)"`).FindSubmatch(dom)
	if m == nil {
		t.Fatalf("at %d pixels the page did not say how it was laid out", width)
	}
	n := func(i int) float64 { v, _ := strconv.ParseFloat(string(m[i]), 64); return v }
	t.Logf("%d pixels: window %s, page %s, %s figures, least text %s px", width, m[1], m[2], m[3], m[4])
	switch {
	case int(n(1)) != width:
		t.Errorf("the browser laid out %s pixels instead of %d", m[1], width)
	case n(2) > n(1):
		t.Errorf("at %d pixels the page is %s wide: it overflows", width, m[2])
	case n(3) != 12:
		t.Errorf("%s figures, want 12", m[3])
	case n(4) < 11:
		t.Errorf("at %d pixels a text of a figure is %s pixels high", width, m[4])
	case n(5) != 0:
		t.Errorf("at %d pixels figures lack texts, or texts leave them: %s", width, m[6])
	}
}
