// Package tensorboard writes event files that TensorBoard shows: a sequence of TFRecords, each a tensorflow.Event with one
// scalar. No file of TensorFlow's is needed for it: the few fields are written by hand, with the numbers that event.proto
// and summary.proto of TensorFlow have had since 2015.
//
//	record:  uint64 length, little-endian | uint32 masked CRC-32C of those 8 bytes | length bytes | uint32 masked CRC-32C of them
//	Event:   1 wall_time double | 2 step int64 | 3 file_version string (first record only) | 5 summary
//	Summary: 1 value, repeated: 1 tag string | 2 simple_value float
//
// A masked CRC is the CRC rotated right by 15 bits, plus 0xa282ead8: so that a CRC over data with CRCs in it stays useful.
package tensorboard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// FileName is what Write names its file: TensorBoard reads those with "tfevents" in their name, in any directory below the
// one it is given, and takes the directory for the run's name.
const FileName = "events.out.tfevents.0.shoal"

// version is the first record's; a reader takes a file without it for one of an old TensorFlow.
const version = "brain.Event:2"

// Scalar is one value at one step of one curve.
type Scalar struct {
	Tag   string  // "train/loss": what comes before the slash groups curves on the page
	Step  int64   // a round
	Time  float64 // seconds since 1970: what "wall" and "relative" on the page go by
	Value float64
}

// Encode is the file of scalars, in their order. A tag that is empty or not UTF-8 is an error. Values are written as
// float32; NaN and infinities are kept, and TensorBoard marks them.
func Encode(scalars []Scalar) ([]byte, error) {
	first := 0.0
	if len(scalars) > 0 {
		first = scalars[0].Time
	}
	var event []byte
	event = double(event, 1, first)
	event = protowire.AppendTag(event, 3, protowire.BytesType)
	event = protowire.AppendString(event, version)
	file := record(nil, event)
	for _, s := range scalars {
		if s.Tag == "" || !utf8.ValidString(s.Tag) {
			return nil, fmt.Errorf("encode event: tag %q; it must be UTF-8 and not empty", s.Tag)
		}
		file = record(file, s.event())
	}
	return file, nil
}

// Write writes scalars as the event file of directory dir, which it makes, over one that is there, whole or not
// at all.
func Write(dir string, scalars []Scalar) error {
	file, err := Encode(scalars)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	f, err := os.CreateTemp(dir, ".events-*")
	if err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	_, err = f.Write(file)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, FileName))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write events: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// event is the Event of a scalar.
func (s Scalar) event() []byte {
	var value, summary, event []byte
	value = protowire.AppendTag(value, 1, protowire.BytesType)
	value = protowire.AppendString(value, s.Tag)
	value = protowire.AppendTag(value, 2, protowire.Fixed32Type)
	value = protowire.AppendFixed32(value, math.Float32bits(float32(s.Value)))
	summary = protowire.AppendTag(summary, 1, protowire.BytesType)
	summary = protowire.AppendBytes(summary, value)
	event = double(event, 1, s.Time)
	event = protowire.AppendTag(event, 2, protowire.VarintType)
	event = protowire.AppendVarint(event, uint64(s.Step))
	event = protowire.AppendTag(event, 5, protowire.BytesType)
	return protowire.AppendBytes(event, summary)
}

func double(b []byte, field protowire.Number, v float64) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}

// record appends one TFRecord.
func record(file, event []byte) []byte {
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(event)))
	file = append(file, length[:]...)
	file = binary.LittleEndian.AppendUint32(file, masked(length[:]))
	file = append(file, event...)
	return binary.LittleEndian.AppendUint32(file, masked(event))
}

// masked is the CRC of a TFRecord.
func masked(b []byte) uint32 {
	crc := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}
