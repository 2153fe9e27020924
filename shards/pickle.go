package shards

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// Limits of a pickled batch. The official ones have 31 MB and some 40,000 opcodes.
const (
	maxBatchBytes = 256 << 20
	maxOpcodes    = 1 << 18
)

// readPython reads the python distribution. Its batches say only inside how many images they hold, but not more than
// their size allows: each is read to where it would begin if all were that full, and then moved up.
func (b *batches) readPython(ctx context.Context, src files, cfg Config, set *Set) error {
	first, counts, room := make([]int, len(b.names)), make([]int, len(b.names)), 0
	for i, size := range b.sizes {
		first[i] = room
		room += int(min(size, maxBatchBytes) / cifarPixels)
	}
	all, err := newImages(room, cifarSide, cifarSide)
	if err != nil {
		return err
	}
	err = src.each(ctx, b.names, func(i int, r io.Reader) error {
		data, err := readAll(r, min(b.sizes[i], maxBatchBytes))
		if err != nil {
			return damaged(err)
		}
		m, err := decodeBatch(data, len(set.Classes))
		counts[i] = m.N
		all.move(first[i], m)
		return err
	})
	if err != nil {
		return err
	}
	n, last := 0, len(b.names)-1
	for i := range last {
		all.move(n, all.part(first[i], first[i]+counts[i]))
		n += counts[i]
	}
	set.Train = all.part(0, limited(n, cfg.Limit))
	set.Test = all.part(first[last], first[last]+limited(counts[last], cfg.TestLimit))
	return nil
}

// move copies images to i, i+1, …; they may overlap.
func (m Images) move(i int, from Images) {
	copy(m.Pixels[i*m.H*m.W*3:], from.Pixels)
	copy(m.Labels[i:], from.Labels)
}

// part is the images [lo, hi), in the same memory.
func (m Images) part(lo, hi int) Images {
	size := m.H * m.W * 3
	return Images{N: hi - lo, H: m.H, W: m.W, Pixels: m.Pixels[lo*size : hi*size : hi*size], Labels: m.Labels[lo:hi:hi]}
}

// decodeBatch reads the pickled dictionary of a batch: data, a numpy array (N, 3072) of uint8 or its bytes, and
// labels, a list of N ints. Its keys are bytes or strings.
func decodeBatch(data []byte, classes int) (Images, error) {
	dict, err := decodePickle(data)
	if err != nil {
		return Images{}, err
	}
	planes, err := planesOf(dict["data"])
	if err != nil {
		return Images{}, fmt.Errorf("data: %w", err)
	}
	list, ok := dict["labels"].(*types.List)
	if !ok {
		return Images{}, fmt.Errorf("labels: %T, want a list", dict["labels"])
	}
	n := len(planes) / cifarPixels
	if len(*list) != n {
		return Images{}, fmt.Errorf("%d images and %d labels: the file is damaged, fetch it again", n, len(*list))
	}
	m, err := newImages(n, cifarSide, cifarSide)
	if err != nil {
		return Images{}, err
	}
	for i, v := range *list {
		label, ok := v.(int)
		if !ok {
			return Images{}, fmt.Errorf("record %d has a label of type %T, want an int", i, v)
		}
		if label < 0 || label >= classes {
			return Images{}, badLabel(i, label, classes)
		}
		m.Labels[i] = int32(label)
		interleave(m.image(i), planes[i*cifarPixels:])
	}
	return m, nil
}

// planesOf returns the bytes of N×3072 pixels.
func planesOf(v any) ([]byte, error) {
	if a, ok := v.(*ndarray); ok {
		if len(a.shape) != 2 || a.shape[1] != cifarPixels {
			return nil, fmt.Errorf("array of shape %v, want (N, %d)", a.shape, cifarPixels)
		}
		return a.data, nil
	}
	b, ok := bytesOf(v)
	if !ok {
		return nil, fmt.Errorf("%T, want a numpy array or bytes", v)
	}
	if len(b) == 0 || len(b)%cifarPixels != 0 {
		return nil, fmt.Errorf("%d bytes, want a number of %d-byte images", len(b), cifarPixels)
	}
	return b, nil
}

// decodeMeta reads the names of the classes.
func decodeMeta(data []byte) ([]string, error) {
	dict, err := decodePickle(data)
	if err != nil {
		return nil, err
	}
	list, ok := dict["label_names"].(*types.List)
	if !ok {
		return nil, fmt.Errorf("label_names: %T, want a list", dict["label_names"])
	}
	names := make([]string, len(*list))
	for i, v := range *list {
		b, ok := bytesOf(v)
		if !ok {
			return nil, fmt.Errorf("label_names: name %d is %T, want a string", i, v)
		}
		names[i] = string(b)
	}
	return names, nil
}

// decodePickle loads a dictionary whose keys are strings or bytes. A pickle is a program: it is scanned before it is
// run, and may call only what numpy uses to build an array.
func decodePickle(data []byte) (dict map[string]any, err error) {
	if err := scanPickle(data); err != nil {
		return nil, fmt.Errorf("read pickle: %w", err)
	}
	defer func() { // the library indexes what a malformed pickle lacks
		if p := recover(); p != nil {
			dict, err = nil, fmt.Errorf("read pickle: malformed: %v", p)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(data))
	u.FindClass = (&numpy{left: 2 * maxBatchBytes}).findClass
	v, err := u.Load()
	if err != nil {
		return nil, fmt.Errorf("read pickle: %w: the file is damaged, fetch it again", err)
	}
	d, ok := v.(*types.Dict)
	if !ok {
		return nil, fmt.Errorf("read pickle: %T, want a dictionary", v)
	}
	dict = make(map[string]any, len(*d))
	for _, e := range *d {
		if key, ok := bytesOf(e.Key); ok {
			dict[string(key)] = e.Value
		}
	}
	return dict, nil
}

// bytesOf reads a string of Python 2, bytes, or a bytearray.
func bytesOf(v any) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		return []byte(v), true
	case []byte:
		return v, true
	case *types.ByteArray:
		return []byte(*v), true
	}
	return nil, false
}

// What follows an opcode: so many bytes, or one of these.
const (
	argLines = -1 - iota // two lines
	argLen1              // a length in one byte and the data
	argLen4
	argLen8
	argNone = 0
)

// opcodeArg returns what follows an opcode of protocols 2 to 5 that a dictionary of lists, strings and arrays needs.
func opcodeArg(op byte) (arg int, ok bool) {
	switch op {
	case '(', ')', '}', ']', 't', 0x85, 0x86, 0x87, 'u', 's', 'a', 'e', 'R', 'b', '0', '.', 'N', 0x88, 0x89, 0x93, 0x94:
		return argNone, true
	case 'K', 'q', 'h', 0x80:
		return 1, true
	case 'M':
		return 2, true
	case 'J', 'r', 'j':
		return 4, true
	case 0x95, 'G':
		return 8, true
	case 'U', 'C', 0x8c, 0x8a:
		return argLen1, true
	case 'T', 'B', 'X':
		return argLen4, true
	case 0x8d, 0x8e, 0x96:
		return argLen8, true
	case 'c':
		return argLines, true
	}
	return 0, false
}

var errCut = errors.New("cut short: fetch it again")

// scanPickle checks that a pickle uses only known opcodes, as many as allowed, and that no length exceeds the data,
// as the library allocates a length before it reads.
func scanPickle(data []byte) error {
	for n, rest := 0, data; len(rest) > 0; n++ {
		op, pos := rest[0], len(data)-len(rest)
		arg, ok := opcodeArg(op)
		if !ok {
			return fmt.Errorf("opcode %#02x at byte %d is not of a CIFAR-10 batch (protocols 2 to 5)", op, pos)
		}
		if n == maxOpcodes {
			return fmt.Errorf("more than %d opcodes", maxOpcodes)
		}
		size, err := argSize(arg, rest[1:])
		if err != nil || size > len(rest)-1 {
			return fmt.Errorf("opcode %#02x at byte %d: %w", op, pos, errCut)
		}
		if op == 0x8a && size == 1 || op == 0x95 && frameLen(rest[1:]) > uint64(len(rest)-9) {
			return fmt.Errorf("opcode %#02x at byte %d: impossible length", op, pos)
		}
		if op == '.' {
			return nil
		}
		rest = rest[1+size:]
	}
	return errCut
}

func frameLen(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// argSize is how many bytes of rest an opcode takes.
func argSize(arg int, rest []byte) (int, error) {
	header := map[int]int{argLen1: 1, argLen4: 4, argLen8: 8}[arg]
	switch {
	case arg >= 0:
		return arg, nil
	case arg == argLines:
		first := bytes.IndexByte(rest, '\n')
		second := bytes.IndexByte(rest[first+1:], '\n')
		if first < 0 || second < 0 {
			return 0, errCut
		}
		return first + 1 + second + 1, nil
	case len(rest) < header:
		return 0, errCut
	}
	var size [8]byte
	copy(size[:], rest[:header])
	n := binary.LittleEndian.Uint64(size[:])
	if n > uint64(len(rest)-header) {
		return 0, errCut
	}
	return header + int(n), nil
}
