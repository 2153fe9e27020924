package gossip

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// tokenVersion is in the token's first word: "shoal1.".
	tokenVersion = 1
	tokenPrefix  = "shoal"
	// maxTokenBytes bounds a token; one takes 300 to 1500 characters.
	maxTokenBytes = 24 << 10
	// maxSettingsBytes bounds the settings in a token, and maxTokenSeeds the seeds.
	maxSettingsBytes = 12 << 10
	maxTokenSeeds    = 8
	// sumBytes is how much of a token's SHA-256 it carries, against damage, not against forgery: who forges one invites
	// to a cluster of his own.
	sumBytes = 6
)

// Token is an invitation: all that makes a new node a member. Whoever has one can join, as with the keys in it.
//
// As text it is "shoal1." and in base64url without padding: the length of the JSON (2 bytes, big endian), the first 6 bytes
// of its SHA-256, the JSON:
//
//	{"expires":1764000000,"seeds":["192.168.1.11:7946"],"keys":["…"],"settings":"learner:\n  width: 0.5\n"}
type Token struct {
	Expires  time.Time // to the second; after it the token is refused
	Seeds    []string  // host:port of members
	Keys     Keys
	Settings string // of the run, as YAML; the caller knows what is in it
}

// tokenBody is a Token as JSON.
type tokenBody struct {
	Expires  int64    `json:"expires"` // Unix seconds
	Seeds    []string `json:"seeds"`
	Keys     []string `json:"keys"`
	Settings string   `json:"settings"`
}

// String hides the token from logs.
func (t Token) String() string {
	return fmt.Sprintf("(invitation to %s until %s)", strings.Join(t.Seeds, ", "), t.Expires.UTC().Format(time.RFC3339))
}

// GoString hides the token from logs.
func (t Token) GoString() string { return t.String() }

// Encode is the token in one line. An error says what cannot be in a token.
func (t Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	body := tokenBody{Expires: t.Expires.Unix(), Seeds: t.Seeds, Settings: t.Settings}
	for _, k := range t.Keys {
		body.Keys = append(body.Keys, k.Base64())
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	sum := sha256.Sum256(text)
	raw := binary.BigEndian.AppendUint16(nil, uint16(len(text)))
	raw = append(append(raw, sum[:sumBytes]...), text...)
	return tokenPrefix + strconv.Itoa(tokenVersion) + "." + base64.RawURLEncoding.EncodeToString(raw), nil
}

// check says what cannot be in a token.
func (t Token) check() error {
	if len(t.Seeds) == 0 || len(t.Seeds) > maxTokenSeeds {
		return fmt.Errorf("%d seeds, want 1 to %d", len(t.Seeds), maxTokenSeeds)
	}
	for _, seed := range t.Seeds {
		host, port, err := net.SplitHostPort(seed)
		if n, errPort := strconv.ParseUint(port, 10, 16); err != nil || errPort != nil || n == 0 || host == "" || len(seed) > 256 {
			return fmt.Errorf("seed %q is not host:port", seed)
		}
	}
	if len(t.Keys) == 0 || len(t.Keys) > MaxKeys {
		return fmt.Errorf("%d keys, want 1 to %d", len(t.Keys), MaxKeys)
	}
	if len(t.Settings) > maxSettingsBytes {
		return fmt.Errorf("settings of %d bytes, limit %d", len(t.Settings), maxSettingsBytes)
	}
	return nil
}

// DecodeToken reads a token that holds at the time now. Its errors never show the token.
func DecodeToken(text string, now time.Time) (Token, error) {
	t, err := decodeToken(strings.TrimSpace(text))
	if err != nil {
		return Token{}, fmt.Errorf("read the token: %w", err)
	}
	if !now.Before(t.Expires) {
		return Token{}, fmt.Errorf("read the token: it expired at %s, %v ago by this node's clock; get a new one with: shoal invite",
			t.Expires.UTC().Format(time.RFC3339), now.Sub(t.Expires).Round(time.Second))
	}
	return t, nil
}

func decodeToken(text string) (Token, error) {
	rest, ours := strings.CutPrefix(text, tokenPrefix)
	version, coded, dotted := strings.Cut(rest, ".")
	n, err := strconv.Atoi(version)
	if !ours || !dotted || err != nil {
		return Token{}, fmt.Errorf("it does not begin with %s%d. and is none; copy the whole line that shoal invite prints", tokenPrefix, tokenVersion)
	}
	if n != tokenVersion {
		return Token{}, fmt.Errorf("it is of version %d, and this shoal reads %d; use the same version on both nodes", n, tokenVersion)
	}
	if len(coded) > maxTokenBytes {
		return Token{}, fmt.Errorf("%d characters, limit %d", len(coded), maxTokenBytes)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(coded)
	var at base64.CorruptInputError
	if errors.As(err, &at) && int(at) < len(coded) && !cutShort(coded) {
		return Token{}, fmt.Errorf("it is damaged at character %d; copy it again", len(text)-len(coded)+int(at)+1)
	}
	const head = 2 + sumBytes
	if len(raw) < head || err != nil {
		return Token{}, fmt.Errorf("it is cut short, at %d characters; copy the whole line", len(text))
	}
	size, body := int(binary.BigEndian.Uint16(raw)), raw[head:]
	if len(body) < size {
		return Token{}, fmt.Errorf("it is cut short: %d of %d characters; copy the whole line", len(text), len(text)-len(coded)+base64.RawURLEncoding.EncodedLen(head+size))
	}
	if sum := sha256.Sum256(body); len(body) > size || !bytes.Equal(sum[:sumBytes], raw[2:head]) {
		return Token{}, errors.New("it is damaged: its checksum does not fit; copy it again")
	}
	return parseTokenBody(body)
}

// cutShort reports whether text is base64url but for its length or the bits that are left over at its end.
func cutShort(text string) bool {
	_, err := base64.RawURLEncoding.DecodeString(text[:len(text)/4*4])
	return err == nil
}

func parseTokenBody(text []byte) (Token, error) {
	var body tokenBody
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return Token{}, fmt.Errorf("it holds what no token does: %w", err)
	}
	keys, err := ParseKeys(strings.Join(body.Keys, "\n"))
	t := Token{Expires: time.Unix(body.Expires, 0), Seeds: body.Seeds, Keys: keys, Settings: body.Settings}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return Token{}, fmt.Errorf("it holds what no token does: %w", err)
	}
	return t, nil
}
