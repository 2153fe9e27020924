package shards

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// pickler writes the few opcodes that a batch needs.
type pickler struct{ bytes.Buffer }

func (p *pickler) op(parts ...any) *pickler {
	for _, part := range parts {
		switch v := part.(type) {
		case string:
			p.WriteString(v)
		case []byte:
			p.Write(v)
		case uint32:
			binary.Write(p, binary.LittleEndian, v)
		}
	}
	return p
}

// short writes a string of Python 2.
func (p *pickler) short(s string) *pickler { return p.op("U", []byte{byte(len(s))}, s) }

// long writes BINSTRING or BINBYTES.
func (p *pickler) long(op string, b []byte) *pickler { return p.op(op, uint32(len(b)), b) }

func (p *pickler) integer(n int) *pickler { return p.op("J", uint32(n)) }

// array writes numpy's own form, as Python 2 wrote the official batches.
func (p *pickler) array(rows, columns int, kind string, data []byte) *pickler {
	p.op("cnumpy.core.multiarray\n_reconstruct\n", "cnumpy\nndarray\n", "K\x00\x85U\x01b\x87R")
	p.op("(K\x01").integer(rows).integer(columns).op("\x86")
	p.op("cnumpy\ndtype\n").short(kind).op("K\x00K\x01\x87R(K\x03U\x01|NNN").integer(-1).integer(-1).op("K\x00tb")
	return p.op("\x89").long("T", data).op("tb")
}

func (p *pickler) list(labels []int32) *pickler {
	p.op("](")
	for _, l := range labels {
		p.integer(int(l))
	}
	return p.op("e")
}

// pickled is a whole batch: the planes of images and their labels.
func pickled(planes []byte, labels []int32) []byte {
	p := &pickler{}
	p.op("\x80\x02}(").short("batch_label").short("training batch 1 of 5").short("labels").list(labels)
	p.short("data").array(len(planes)/cifarPixels, cifarPixels, "u1", planes)
	return slices.Clone(p.op("u.").Bytes())
}

func pickledMeta(names ...string) []byte {
	p := &pickler{}
	p.op("\x80\x02}").short("label_names").op("](")
	for _, n := range names {
		p.short(n)
	}
	return slices.Clone(p.op("es.").Bytes())
}

// planesAndLabels takes records apart.
func planesAndLabels(n int, seed uint64) (planes []byte, labels []int32, pixels []byte) {
	raw, pixels, labels := records(n, seed)
	for i := range n {
		planes = append(planes, raw[i*cifarRecord+1:(i+1)*cifarRecord]...)
	}
	return planes, labels, pixels
}

func TestOpenPython(t *testing.T) {
	a, al, ap := planesAndLabels(5, 1)
	b, bl, bp := planesAndLabels(4, 2)
	c, cl, _ := planesAndLabels(3, 3)
	f := tree{
		"cifar-10-batches-py/data_batch_1": pickled(a, al), "cifar-10-batches-py/data_batch_2": pickled(b, bl),
		"cifar-10-batches-py/test_batch":   pickled(c, cl),
		"cifar-10-batches-py/batches.meta": pickledMeta(cifarClasses()...),
	}
	set := f.open(t, Config{}, 32)
	if !bytes.Equal(set.Train.Pixels, slices.Concat(ap, bp)) || !slices.Equal(set.Train.Labels, slices.Concat(al, bl)) || set.Test.N != 3 {
		t.Error("images differ from those written")
	}
	if !slices.Equal(set.Classes, cifarClasses()) {
		t.Errorf("classes: got %v", set.Classes)
	}
	if some := f.open(t, Config{Limit: 7, TestLimit: 1}, 32); some.Train.N != 7 || some.Test.N != 1 || !bytes.Equal(some.Train.Pixels, set.Train.Pixels[:7*cifarPixels]) {
		t.Error("a limited set is not the beginning of the whole")
	}
	bin := tree{"data_batch_1.bin": nil, "data_batch_2.bin": nil, "test_batch.bin": nil}
	bin["data_batch_1.bin"], _, _ = records(5, 1)
	bin["data_batch_2.bin"], _, _ = records(4, 2)
	bin["test_batch.bin"], _, _ = records(3, 3)
	if other := bin.open(t, Config{}, 32); other.Hash != set.Hash {
		t.Error("the binary and the python distribution of the same images have different hashes")
	}
}

func TestDecodeBatchForms(t *testing.T) {
	planes, labels, pixels := planesAndLabels(2, 1)
	start := func(protocol string) *pickler {
		p := &pickler{}
		return p.op("\x80", protocol, "}(").long("B", []byte("labels")).list(labels).long("B", []byte("data"))
	}
	latin := []byte(string(func() (r []rune) {
		for _, b := range planes {
			r = append(r, rune(b))
		}
		return r
	}()))
	for _, tt := range []struct {
		name string
		p    *pickler
	}{
		{"bytes", start("\x03").long("B", planes)},
		{"string of Python 2", start("\x02").long("T", planes)},
		{"bytes in protocol 2", start("\x02").op("c_codecs\nencode\n").long("X", latin).long("X", []byte("latin1")).op("\x86R")},
		{"array in protocol 5", start("\x05").op("\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(\x96").
			op(binary.LittleEndian.AppendUint64(nil, uint64(len(planes))), planes).
			op("\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02u1\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb").
			op("K\x02M\x00\x0c\x86\x8c\x01Ct\x94R")},
		{"numpy 2", start("\x02").op(strings.ReplaceAll((&pickler{}).array(2, cifarPixels, "|u1", planes).String(), "numpy.core", "numpy._core"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := decodeBatch(tt.p.op("u.").Bytes(), 10)
			if err != nil || !bytes.Equal(m.Pixels, pixels) || !slices.Equal(m.Labels, labels) {
				t.Errorf("got %d images, %v", m.N, err)
			}
		})
	}
}

func TestDecodeBatchRefuses(t *testing.T) {
	planes, labels, _ := planesAndLabels(2, 1)
	good := pickled(planes, labels)
	with := func(fill func(p *pickler)) []byte {
		p := &pickler{}
		p.op("\x80\x02}(").short("labels").list(labels).short("data")
		fill(p)
		return p.op("u.").Bytes()
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "cut short"},
		{"cut", good[:len(good)/2], "cut short"},
		{"no stop", good[:len(good)-1], "cut short"},
		{"huge length", []byte("\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f."), "cut short"},
		{"huge frame", []byte("\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f."), "impossible length"},
		{"integer of no bytes", []byte("\x80\x02\x8a\x00."), "impossible length"},
		{"protocol 0", []byte("(dp0\nS'data'\np1\n."), "opcode 0x64"},
		{"a program", []byte("\x80\x02cos\nsystem\nU\x02ls\x85R."), "os.system, which no CIFAR-10 batch needs: refused"},
		{"odd dictionary", []byte("\x80\x02}(K\x01u."), "malformed"},
		{"no dictionary", []byte("\x80\x02]."), "want a dictionary"},
		{"no data", []byte("\x80\x02}."), "data: <nil>, want a numpy array"},
		{"no labels", with(func(p *pickler) { p.long("T", planes).short("labels").op("N") }), "labels: <nil>, want a list"},
		{"few labels", pickled(planes, labels[:1]), "2 images and 1 labels"},
		{"label out of range", pickled(planes, []int32{0, 10}), "record 1 has label 10, want 0..9"},
		{"negative label", pickled(planes, []int32{-1, 0}), "record 0 has label -1"},
		{"label of another type", with(func(p *pickler) { p.long("T", planes).short("labels").op("](NNe") }), "record 0 has a label of type <nil>"},
		{"part of an image", with(func(p *pickler) { p.long("T", planes[1:]) }), "6143 bytes, want a number of 3072-byte images"},
		{"shape and data", with(func(p *pickler) { p.array(3, cifarPixels, "u1", planes) }), "shape [3 3072] with 6144 bytes"},
		{"other shape", with(func(p *pickler) { p.array(4, cifarPixels/2, "u1", planes) }), "want (N, 3072)"},
		{"zero rows", with(func(p *pickler) { p.array(0, cifarPixels, "u1", nil) }), "array dimension 0"},
		{"huge shape", with(func(p *pickler) { p.array(1<<30, 1<<30, "u1", planes) }), "array dimension 1073741824"},
		{"floats", with(func(p *pickler) { p.array(2, cifarPixels, "f4", planes) }), "want u1"},
		{"self", []byte("\x80\x02}q\x00U\x04datah\x00s."), "data: *types.Dict"},
		{"too many opcodes", bytes.Repeat([]byte("N"), maxOpcodes+1), "more than 262144 opcodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeBatch(tt.data, 10)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNumpyBytesAreBounded(t *testing.T) {
	n := &numpy{left: 100}
	if _, err := n.encodeLatin1(strings.Repeat("x", 60), "latin1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.encodeLatin1(strings.Repeat("x", 60), "latin1"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v, want the bound", err)
	}
}

func TestDecodeMetaRefuses(t *testing.T) {
	for _, data := range []string{"\x80\x02}.", "\x80\x02}U\x0blabel_namesK\x01s.", "\x80\x02}U\x0blabel_names](K\x01es."} {
		if names, err := decodeMeta([]byte(data)); err == nil || !strings.HasPrefix(err.Error(), "label_names: ") {
			t.Errorf("%q: got %v, %v", data, names, err)
		}
	}
}

// FuzzDecodeBatch: whatever a file holds, an error or images that agree with their labels.
func FuzzDecodeBatch(f *testing.F) {
	planes, labels, _ := planesAndLabels(1, 1)
	f.Add(pickled(planes, labels))
	f.Add(pickledMeta("a", "b"))
	f.Add([]byte("\x80\x02}q\x00U\x04datah\x00s."))
	f.Add([]byte("\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94]\x94."))
	f.Add([]byte("\x80\x02cnumpy\ndtype\n)R."))
	f.Add([]byte("\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01)N\x89U\x00tb."))
	f.Add([]byte("\x80\x05cnumpy.core.numeric\n_frombuffer\n)R."))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeBatch(data, 10)
		if err == nil && (len(m.Labels) != m.N || len(m.Pixels) != m.N*cifarPixels || m.N == 0) {
			t.Errorf("%d images with %d labels and %d bytes", m.N, len(m.Labels), len(m.Pixels))
		}
		decodeMeta(data)
	})
}

func FuzzReadRecords(f *testing.F) {
	raw, _, _ := records(2, 1)
	f.Add(raw, uint8(2))
	f.Add(raw[:100], uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, count uint8) {
		to, err := newImages(int(count), cifarSide, cifarSide)
		if err != nil {
			t.Fatal(err)
		}
		err = readRecords(bytes.NewReader(data), to, 0, int(count), 10)
		if short := len(data) < int(count)*cifarRecord; short && err == nil {
			t.Errorf("%d bytes pass for %d records", len(data), count)
		}
		for i, l := range to.Labels {
			if l < 0 || l > 9 {
				t.Errorf("record %d: label %d", i, l)
			}
		}
	})
}
