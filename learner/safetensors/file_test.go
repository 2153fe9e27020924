package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// archive is an archive with this header text and body, as a stranger might write it.
func archive(header string, body ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), body...)
}

func encode(t testing.TB, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := f.WriteTo(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(b.Len()) {
		t.Fatalf("WriteTo says %d bytes, wrote %d", n, b.Len())
	}
	return b.Bytes()
}

func TestFormatIsThePackageExample(t *testing.T) {
	got := encode(t, &File{Tensors: []Tensor{Floats("w", []int{2}, []float32{1, 2})}})
	want := archive(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  `, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRoundTripKeepsEveryBit(t *testing.T) {
	floats := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), math.Float32frombits(0x7fc12345), 1e-45, -3.5}
	ints := []int64{0, -1, math.MaxInt64, math.MinInt64}
	f := &File{
		Metadata: map[string]string{"b": "<&>", "a": "ü\n\u2028", "": "empty"},
		Tensors: []Tensor{
			Ints("labels", []int{2, 2}, ints), Floats("b.weight", []int{2, 3}, floats), Floats("a <&> \"", []int{6}, floats),
			Floats("scalar", nil, floats[:1]), Floats("none", []int{3, 0}, nil),
			{Name: "half", DType: "F16", Shape: []int{3}, Data: []byte{1, 2, 3, 4, 5, 6}},
		},
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	for range 2 { // the second replaces the first
		if err := Write(path, f); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Metadata, f.Metadata) || len(got.Tensors) != len(f.Tensors) {
		t.Fatalf("got %v and %d tensors", got.Metadata, len(got.Tensors))
	}
	for _, want := range f.Tensors {
		if have, ok := got.Find(want.Name); !ok || have.DType != want.DType || !bytes.Equal(have.Data, want.Data) ||
			!slices.Equal(have.Shape, want.Shape) {
			t.Errorf("%s: got %v, %v", want.Name, have, ok)
		}
	}
	w, _ := got.Find("b.weight")
	values, err := w.Float32s()
	if err != nil || math.Float32bits(values[3]) != 0x7fc12345 || values[5] != -3.5 {
		t.Errorf("Float32s: %v, %v", values, err)
	}
	l, _ := got.Find("labels")
	if values, err := l.Int64s(); err != nil || !slices.Equal(values, ints) {
		t.Errorf("Int64s: %v, %v", values, err)
	}
}

func TestBytesDoNotDependOnOrder(t *testing.T) {
	f := &File{Tensors: []Tensor{
		Floats("c", []int{1}, []float32{3}), Ints("z", []int{1}, []int64{9}), Floats("a", []int{1}, []float32{1}),
		{Name: "byte", DType: "U8", Shape: []int{1}, Data: []byte{7}}, Floats("b", []int{1}, []float32{2}),
	}}
	want := encode(t, f)
	slices.Reverse(f.Tensors)
	if got := encode(t, f); !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	start := 8 + int(binary.LittleEndian.Uint64(want))
	if start%8 != 0 {
		t.Errorf("tensors begin at byte %d, not aligned", start)
	}
	decoded, err := Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tensor := range decoded.Tensors {
		names = append(names, tensor.Name)
	}
	if got := strings.Join(names, " "); got != "z a b c byte" {
		t.Errorf("order %s", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`
	long := binary.LittleEndian.AppendUint64(nil, maxHeaderBytes+1)
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "truncated at byte 0 of the 8", nil},
		{"half a length", "truncated at byte 7 of the 8", make([]byte, 7)},
		{"length of all ones", "at most 100000000", bytes.Repeat([]byte{255}, 9)},
		{"long header", "header of 100000001 bytes", long},
		{"cut header", "truncated at byte 20 of 63", archive("{" + a + "} ")[:20]},
		{"cut tensor", "truncated at byte 64 of 66: tensor \"a\" is cut", archive("{"+a+"}", 1, 2)},
		{"empty header", "does not begin with", archive("")},
		{"space first", "does not begin with", archive(" {}")},
		{"array", "does not begin with", archive("[]")},
		{"cut JSON", "unexpected EOF", archive(`{"a":{"dtype":`)},
		{"open JSON", "EOF", archive(`{`)},
		{"two values", "more than one JSON value", archive(`{}{}`)},
		{"twice", `"a" comes twice`, archive("{"+a+","+a+"}", 1, 2, 3, 4)},
		{"metadata number", "__metadata__: ", archive(`{"__metadata__":{"a":1}}`)},
		{"overlap", `"b" at [2 6] is overlapping "a", which ends at 4`,
			archive(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, make([]byte, 6)...)},
		{"same place", "overlapping", archive(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4)...)},
		{"gap", `a gap of 4 bytes after "a"`,
			archive(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, make([]byte, 12)...)},
		{"gap first", `a gap of 1 bytes after "the header"`, archive(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 1, 2)},
		{"rest", "2 bytes after the last tensor's end", archive("{"+a+"}", make([]byte, 6)...)},
		{"wrong size", "wrong size: F32 of shape [2] takes 8 bytes, but it has 4",
			archive(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, make([]byte, 4)...)},
		{"unknown dtype", `unknown dtype "F3"`, archive(`{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4)...)},
		{"negative shape", "negative dimension", archive(`{"a":{"dtype":"U8","shape":[-1,-4],"data_offsets":[0,4]}}`, make([]byte, 4)...)},
		{"huge shape", "takes more than", archive(`{"a":{"dtype":"U8","shape":[2147483647,2147483647,4],"data_offsets":[0,4]}}`, 1, 2, 3, 4)},
		{"no shape", "no shape", archive(`{"a":{"dtype":"U8","data_offsets":[0,4]}}`, 1, 2, 3, 4)},
		{"fraction", "cannot unmarshal", archive(`{"a":{"dtype":"U8","shape":[0.5],"data_offsets":[0,4]}}`)},
		{"one offset", "data_offsets [0]", archive(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`)},
		{"backward", "data_offsets [4 0]", archive(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[4,0]}}`, 1, 2, 3, 4)},
		{"negative offset", "data_offsets [-1 0]", archive(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`)},
	} {
		if _, err := Decode(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	one := Floats("a", []int{1}, []float32{1})
	for _, c := range []struct {
		want string
		file File
	}{
		{`"a" comes twice`, File{Tensors: []Tensor{one, Ints("b", []int{0}, nil), Ints("a", []int{0}, nil)}}},
		{"wrong size", File{Tensors: []Tensor{Floats("a", []int{2}, []float32{1})}}},
		{"taken by the format", File{Tensors: []Tensor{Floats(metadataKey, []int{0}, nil)}}},
		{"not UTF-8", File{Tensors: []Tensor{Floats("\xff", []int{0}, nil)}}},
		{"not UTF-8", File{Metadata: map[string]string{"a": "\xff"}}},
		{"unknown dtype", File{Tensors: []Tensor{{Name: "a"}}}},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, &c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "before" {
			t.Errorf("%s: the file became %q, %v", c.want, got, err)
		}
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
			t.Errorf("%s: left behind: %v, %v", c.want, names, err)
		}
	}
}

func TestWrongDTypeIsAnError(t *testing.T) {
	if _, err := Ints("n", []int{1}, []int64{1}).Float32s(); err == nil || !strings.Contains(err.Error(), "I64, not F32") {
		t.Errorf("got %v", err)
	}
	if _, err := Floats("n", []int{1}, []float32{1}).Int64s(); err == nil || !strings.Contains(err.Error(), "F32, not I64") {
		t.Errorf("got %v", err)
	}
	if _, err := (Tensor{Name: "n", DType: "F32", Shape: []int{2}, Data: make([]byte, 7)}).Float32s(); err == nil {
		t.Error("7 bytes became floats")
	}
}

func TestReadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none") {
		t.Errorf("absent: %v", err)
	}
	path := filepath.Join(dir, "cut")
	if err := os.WriteFile(path, archive("{}")[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("cut: %v", err)
	}
}

// FuzzDecode: whatever Decode accepts can be written, and what was written decodes to the same and writes the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(archive("{}"))
	f.Add(archive(`{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   `, 1, 2, 3, 4))
	f.Add(archive(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"F16","shape":[1],"data_offsets":[1,3]}}`, 1, 2, 3))
	f.Add(archive(`{"a":{"dtype":"I64","shape":[0,-1],"data_offsets":[0,0]}}`))
	f.Add(archive(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}`, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Decode(data)
		if err != nil {
			return
		}
		written := encode(t, first)
		second, err := Decode(written)
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if len(first.Tensors) != len(second.Tensors) {
			t.Fatalf("%d tensors became %d", len(first.Tensors), len(second.Tensors))
		}
		for _, a := range first.Tensors {
			if b, ok := second.Find(a.Name); !ok || !bytes.Equal(a.Data, b.Data) || !slices.Equal(a.Shape, b.Shape) {
				t.Fatalf("%v became %v", a, b)
			}
		}
		if again := encode(t, second); !bytes.Equal(written, again) {
			t.Fatalf("%q was written again as %q", written, again)
		}
	})
}
