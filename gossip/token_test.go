package gossip

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func aToken(t testing.TB) Token {
	t.Helper()
	return Token{
		Expires: time.Unix(1_764_000_000, 0), Seeds: []string{"192.168.1.11:7946", "pi.local:7946"}, Keys: manyKeys(t, 2),
		Settings: "learner:\n  width: 0.5\n",
	}
}

func TestTokenRoundTrip(t *testing.T) {
	want := aToken(t)
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeToken(" "+text+"\n", want.Expires.Add(-time.Second))
	if err != nil || !got.Expires.Equal(want.Expires) || !slices.Equal(got.Seeds, want.Seeds) || !slices.Equal(got.Keys, want.Keys) || got.Settings != want.Settings {
		t.Errorf("%v became %v, %v", want, got, err)
	}
	if strings.ContainsAny(text, " \n+/=") {
		t.Errorf("a token of more than one word")
	}
	shown := fmt.Sprintf("%v %s %+v %#v", got, got, got, got)
	for _, k := range want.Keys {
		if strings.Contains(shown, k.Base64()) {
			t.Errorf("a token prints as %s", shown)
		}
	}
}

// Whatever happens to a token on its way is told apart, and no error shows the token.
func TestBadTokens(t *testing.T) {
	good := aToken(t)
	before := good.Expires.Add(-time.Hour)
	text, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) string {
		c := byte('A')
		if text[at] == c {
			c = 'B'
		}
		return text[:at] + string(c) + text[at+1:]
	}
	for _, row := range []struct {
		name, text string
		now        time.Time
		want       string
	}{
		{"nothing", "", before, "does not begin with shoal1."},
		{"a key", good.Keys[0].Base64(), before, "does not begin with shoal1."},
		{"another version", "shoal2" + text[len("shoal1"):], before, "version 2, and this shoal reads 1"},
		{"expired", text, good.Expires, "expired at 2025-11-24T16:00:00Z, 0s ago"},
		{"long expired", text, good.Expires.Add(time.Hour), "1h0m0s ago"},
		{"half", text[:len(text)/2], before, "cut short"},
		{"all but the last", text[:len(text)-1], before, "cut short"},
		{"head alone", text[:12], before, "cut short"},
		{"prefix alone", "shoal1.", before, "cut short"},
		{"one more", text + "AAAA", before, "damaged"},
		{"a blank", text[:40] + " " + text[41:], before, "damaged at character 41"},
		{"huge", text + strings.Repeat("A", maxTokenBytes), before, "limit"},
	} {
		_, err := DecodeToken(row.text, row.now)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if err != nil && len(row.text) > 20 && strings.Contains(err.Error(), row.text[10:20]) {
			t.Errorf("%s: the error shows the token: %v", row.name, err)
		}
	}
	for at := range text {
		if _, err := DecodeToken(flipped(at), before); err == nil {
			t.Errorf("a token that differs at character %d is read", at+1)
		}
	}
	for n := range text {
		if _, err := DecodeToken(text[:n], before); err == nil {
			t.Errorf("%d characters of a token are read", n)
		}
	}
}

func TestTokenLimits(t *testing.T) {
	for name, spoil := range map[string]func(*Token){
		"no seed":       func(t *Token) { t.Seeds = nil },
		"no port":       func(t *Token) { t.Seeds = []string{"pi"} },
		"port 0":        func(t *Token) { t.Seeds = []string{"pi:0"} },
		"many seeds":    func(t *Token) { t.Seeds = slices.Repeat(t.Seeds, 9) },
		"no key":        func(t *Token) { t.Keys = nil },
		"many keys":     func(t *Token) { t.Keys = append(t.Keys, t.Keys...) },
		"huge settings": func(t *Token) { t.Settings = strings.Repeat("x", maxSettingsBytes+1) },
	} {
		token := aToken(t)
		spoil(&token)
		if _, err := token.Encode(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzToken(f *testing.F) {
	good, err := aToken(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:40])
	f.Add("shoal1.")
	f.Add("shoal99999999999999999999.x")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := decodeToken(text)
		if err != nil {
			return
		}
		again, err := token.Encode()
		if err != nil {
			t.Fatalf("%q was read as %v, which cannot be: %v", text, token, err)
		}
		if back, err := decodeToken(again); err != nil || !slices.Equal(back.Keys, token.Keys) || back.Settings != token.Settings {
			t.Errorf("%v became %v, %v", token, back, err)
		}
	})
}
