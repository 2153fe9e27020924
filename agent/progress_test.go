package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/gossip/roster"
)

func TestDecodeProgress(t *testing.T) {
	t.Parallel()
	celsius := 51.5
	good := Progress{ID: "a", Name: "pi-1", Round: 3, Phase: "train", Loss: 1.5, Sent: 7, CPU: 0.5, Celsius: &celsius}
	body, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeProgress(body)
	if again, _ := json.Marshal(got); err != nil || string(again) != string(body) {
		t.Errorf("%s was read as %s, %v", body, again, err)
	}
	for _, bad := range []string{
		"", "x", "[]", `{"round":-1}`, `{"bytes_sent":-5}`, `{"loss":-1}`, `{"cpu":-0.1}`, `{"round":1e99}`, `{"loss":NaN}`,
		`{"name":"` + strings.Repeat("x", maxProgressName+1) + `"}`,
		`{"other":"` + strings.Repeat("x", maxProgressBytes) + `"}`,
	} {
		if p, err := decodeProgress([]byte(bad)); err == nil {
			t.Errorf("%.40q was read as %+v", bad, p)
		}
	}
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte(`{"id":"a","name":"pi-1","round":3,"phase":"train","loss":1.5,"cpu":0.5,"celsius":51.5}`))
	f.Add([]byte(`{"round":-1}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodeProgress(body)
		if err != nil {
			return
		}
		if p.Round < 0 || p.Loss < 0 || p.CPU < 0 || len(p.Name) > maxProgressName {
			t.Errorf("%q was read as %+v", body, p)
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatalf("%+v cannot be told on: %v", p, err)
		}
		if q, err := decodeProgress(again); len(again) <= maxProgressBytes && (err != nil || q.ID != p.ID || q.Loss != p.Loss) {
			t.Errorf("%s was read as %+v, %v", again, q, err)
		}
	})
}

// News is kept of those that membership lists, and of nobody else.
func TestNewsIsBounded(t *testing.T) {
	t.Parallel()
	var s shown
	now := time.Unix(1000, 0)
	for _, id := range []roster.ID{"a", "b", "c"} {
		s.hear(id, Progress{ID: string(id)}, now)
	}
	s.hear("b", Progress{ID: "b", Round: 2}, now.Add(time.Second))
	s.forget([]MemberStatus{{ID: "b"}, {ID: "d"}})
	news := s.news()
	if len(news) != 1 || news["b"].progress.Round != 2 || !news["b"].at.Equal(now.Add(time.Second)) {
		t.Errorf("news %+v", news)
	}
}

func TestHottest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a": "48312\n", "b": "51500\n", "broken": "999999999\n", "cold": "-273150", "text": "N/A\n", "empty": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, ok := hottest(filepath.Join(dir, "*")); !ok || c != 51.5 {
		t.Errorf("%v °C, %v; want 51.5", c, ok)
	}
	if c, ok := hottest(filepath.Join(dir, "none*")); ok {
		t.Errorf("%v °C of no sensor", c)
	}
}

func TestCPUShare(t *testing.T) {
	t.Parallel()
	var c cpuShare
	now := time.Now()
	if s := c.share(now); s != 0 {
		t.Errorf("%v at first, want 0", s)
	}
	c.busy = 0 // as if the process had just begun
	if s := c.share(now.Add(time.Nanosecond)); s != 1 {
		t.Errorf("%v of all CPUs, want at most 1", s)
	}
	if s := c.share(now); s != 0 {
		t.Errorf("%v after the clock went back", s)
	}
}
