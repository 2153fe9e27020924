package gossip

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/memberlist"

	"shoal/gossip/roster"
)

const (
	// metaVersion is the first byte of the metadata; a member of another version stays out.
	metaVersion = 1
	// maxNameBytes bounds a name for people.
	maxNameBytes = 64
	// goodbyeVersion is the first byte of a goodbye, and maxIDBytes bounds the peer ID in it.
	goodbyeVersion = 1
	maxIDBytes     = 128
)

// encodeMeta is a member's metadata: version (1 byte), length of the name (1 byte), name, signed peer record. The member
// "pi" with the record "…" is
//
//	01 02 'p' 'i' …
func encodeMeta(name string, record []byte) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if len(record) == 0 {
		return nil, errors.New("encode metadata: no peer record")
	}
	meta := append([]byte{metaVersion, byte(len(name))}, name...)
	if meta = append(meta, record...); len(meta) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("encode metadata: %d bytes, limit %d", len(meta), memberlist.MetaMaxSize)
	}
	return meta, nil
}

// decodeMeta is encodeMeta's inverse. The record aliases meta.
func decodeMeta(meta []byte) (name string, record []byte, err error) {
	if len(meta) < 2 || len(meta) > memberlist.MetaMaxSize {
		return "", nil, fmt.Errorf("decode metadata: %d bytes", len(meta))
	}
	if meta[0] != metaVersion {
		return "", nil, fmt.Errorf("decode metadata: version %d, want %d", meta[0], metaVersion)
	}
	n := int(meta[1])
	if len(meta) < 2+n+1 {
		return "", nil, fmt.Errorf("decode metadata: name of %d bytes and a record in %d", n, len(meta)-2)
	}
	name = string(meta[2 : 2+n])
	return name, meta[2+n:], checkName(name)
}

// checkName refuses a name that a terminal should not be shown.
func checkName(name string) error {
	if len(name) > maxNameBytes {
		return fmt.Errorf("name of %d bytes, limit %d", len(name), maxNameBytes)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("name %q is not UTF-8", name)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("name %q does not print", name)
		}
	}
	return nil
}

// encodeGoodbye is what a member that leaves tells the others: version (1 byte), its peer ID.
func encodeGoodbye(id roster.ID) []byte { return append([]byte{goodbyeVersion}, id...) }

func decodeGoodbye(text []byte) (roster.ID, error) {
	if len(text) < 2 || len(text) > 1+maxIDBytes || text[0] != goodbyeVersion {
		return "", fmt.Errorf("decode goodbye of %d bytes", len(text))
	}
	return roster.ID(text[1:]), nil
}
