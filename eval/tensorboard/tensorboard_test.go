package tensorboard

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestBytesAreTensorBoardsOwn holds a file against what TensorBoard's EventFileWriter wrote for the same two scalars.
func TestBytesAreTensorBoardsOwn(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "tensorboard.hex"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Encode([]Scalar{{"train/loss", 1, 1.5e9, 2.25}, {"test/accuracy_running", 300, 1.5e9 + 0.5, 0.1}})
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := records(t, want), records(t, got)
	if !strings.HasPrefix(string(theirs[0]), string(ours[0])) { // theirs goes on with the writer's name
		t.Errorf("the version is %x, want a beginning of %x", ours[0], theirs[0])
	}
	rest := func(file []byte) string { return string(file[16+binary.LittleEndian.Uint64(file):]) }
	if rest(got) != rest(want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// TestChecksum has the test vector of RFC 3720 §B.4 for CRC-32C, masked.
func TestChecksum(t *testing.T) {
	crc := uint32(0x8a9136aa) // of 32 zeros
	if want := (crc>>15 | crc<<17) + 0xa282ead8; masked(make([]byte, 32)) != want {
		t.Errorf("masked CRC of 32 zeros is %#x, want %#x", masked(make([]byte, 32)), want)
	}
}

// records cuts a file, checking every checksum with a table made bit by bit.
func records(t *testing.T, file []byte) [][]byte {
	t.Helper()
	sum := func(b []byte) uint32 {
		crc := ^uint32(0)
		for _, x := range b {
			crc ^= uint32(x)
			for range 8 {
				crc = crc>>1 ^ 0x82f63b78&-(crc&1)
			}
		}
		return (^crc>>15 | ^crc<<17) + 0xa282ead8
	}
	var all [][]byte
	for len(file) > 0 {
		if len(file) < 16 {
			t.Fatalf("%d bytes are left, too few for a record", len(file))
		}
		n := int(binary.LittleEndian.Uint64(file))
		if binary.LittleEndian.Uint32(file[8:]) != sum(file[:8]) || len(file) < 16+n || binary.LittleEndian.Uint32(file[12+n:]) != sum(file[12:12+n]) {
			t.Fatalf("record %d is damaged", len(all))
		}
		all = append(all, file[12:12+n])
		file = file[16+n:]
	}
	return all
}

func TestEveryScalarIsARecord(t *testing.T) {
	scalars := []Scalar{{"a", 0, 0, math.NaN()}, {"a", math.MaxInt64, 1e10, math.Inf(1)}, {"é/b", 1, -1, -0.25}, {strings.Repeat("long", 100), 7, 2, 1e300}}
	dir := t.TempDir()
	for range 2 { // the second replaces the first
		if err := Write(dir, scalars); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	all := records(t, file)
	if len(all) != 1+len(scalars) {
		t.Fatalf("%d records for %d scalars and a version", len(all), len(scalars))
	}
	for i, s := range scalars {
		event := all[1+i]
		summary, rest := []byte(nil), event
		for len(rest) > 0 {
			number, kind, n := protowire.ConsumeTag(rest)
			size := protowire.ConsumeFieldValue(number, kind, rest[n:])
			if n < 0 || size < 0 {
				t.Fatalf("record %d is no message", i)
			}
			if number == 5 {
				summary, _ = protowire.ConsumeBytes(rest[n:])
			}
			rest = rest[n+size:]
		}
		if !strings.Contains(string(summary), s.Tag) {
			t.Errorf("record %d does not name %q", i, s.Tag)
		}
	}
}

func TestBadTagsAreRefused(t *testing.T) {
	for _, tag := range []string{"", "\xff"} {
		if _, err := Encode([]Scalar{{Tag: tag}}); err == nil || !strings.Contains(err.Error(), "tag") {
			t.Errorf("tag %q: error %v", tag, err)
		}
	}
	if file, err := Encode(nil); err != nil || len(records(t, file)) != 1 {
		t.Errorf("no scalars: %d bytes, %v", len(file), err)
	}
}
