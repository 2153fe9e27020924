package shards

import (
	"fmt"
	"strings"

	"github.com/nlpodyssey/gopickle/types"
)

// callable is a Python function that a pickle may call.
type callable func(args ...any) (any, error)

// Call makes it one of gopickle's.
func (f callable) Call(args ...any) (any, error) { return f(args...) }

// named is a Python object that is only passed on, such as the class ndarray.
type named string

// numpy is what one pickle may call. It hands out a bounded number of bytes, as a pickle of a few bytes could ask for
// copies of one string without end.
type numpy struct{ left int }

func (n *numpy) spend(bytes int) error {
	if n.left -= bytes; n.left < 0 {
		return fmt.Errorf("pickle builds more than %d MiB of arrays", 2*maxBatchBytes>>20)
	}
	return nil
}

// findClass resolves the names that numpy arrays and bytes pickle to, in every version of numpy, and no others.
func (n *numpy) findClass(module, name string) (any, error) {
	full := strings.Replace(module, "numpy._core", "numpy.core", 1) + "." + name
	switch full {
	case "numpy.ndarray":
		return named(full), nil
	case "numpy.dtype":
		return callable(newDtype), nil
	case "numpy.core.multiarray._reconstruct":
		return callable(func(...any) (any, error) { return &ndarray{from: n}, nil }), nil
	case "numpy.core.numeric._frombuffer":
		return callable(n.fromBuffer), nil
	case "_codecs.encode": // how Python 3 writes bytes in protocol 2
		return callable(n.encodeLatin1), nil
	}
	return nil, fmt.Errorf("pickle asks for %.100s, which no CIFAR-10 batch needs: refused", full)
}

// dtype is a numpy data type by its name, such as u1.
type dtype string

func newDtype(args ...any) (any, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("dtype without arguments")
	}
	name, ok := bytesOf(args[0])
	if !ok {
		return nil, fmt.Errorf("dtype of %T, want a string", args[0])
	}
	d := dtype(name)
	return &d, nil
}

// PySetState takes byte order, fields and alignment, which a type of single bytes does not have.
func (d *dtype) PySetState(any) error { return nil }

// ndarray is an array of uint8 in C order.
type ndarray struct {
	from  *numpy
	shape []int
	data  []byte
}

// PySetState takes (version, shape, dtype, Fortran order, bytes).
func (a *ndarray) PySetState(state any) error {
	t, ok := state.(*types.Tuple)
	if !ok || t.Len() != 5 {
		return fmt.Errorf("array state %T, want a tuple of 5", state)
	}
	if fortran, ok := t.Get(3).(bool); !ok || fortran {
		return fmt.Errorf("array in Fortran order (%v), want C order", t.Get(3))
	}
	return a.set(t.Get(1), t.Get(2), t.Get(4))
}

// set checks that shape, type and data agree.
func (a *ndarray) set(shape, kind, data any) error {
	if d, ok := kind.(*dtype); !ok || strings.TrimPrefix(string(*d), "|") != "u1" {
		return fmt.Errorf("array of type %v, want u1 (uint8)", kind)
	}
	b, ok := bytesOf(data)
	if !ok {
		return fmt.Errorf("array data of %T, want bytes", data)
	}
	dims, ok := shape.(*types.Tuple)
	if !ok {
		return fmt.Errorf("array shape of %T, want a tuple", shape)
	}
	size := 1
	a.shape = a.shape[:0]
	for _, v := range *dims {
		d, ok := v.(int)
		if !ok || d < 1 || d > maxBatchBytes/size {
			return fmt.Errorf("array dimension %v, want 1 to %d bytes in all", v, maxBatchBytes)
		}
		size *= d
		a.shape = append(a.shape, d)
	}
	if len(b) != size {
		return fmt.Errorf("array of shape %v with %d bytes, want %d", a.shape, len(b), size)
	}
	a.data = b
	return a.from.spend(size)
}

// fromBuffer is how protocol 5 builds an array: (buffer, dtype, shape, order).
func (n *numpy) fromBuffer(args ...any) (any, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("_frombuffer with %d arguments, want 4", len(args))
	}
	if order, ok := bytesOf(args[3]); !ok || string(order) != "C" {
		return nil, fmt.Errorf("array in order %v, want C", args[3])
	}
	a := &ndarray{from: n}
	return a, a.set(args[2], args[1], args[0])
}

func (n *numpy) encodeLatin1(args ...any) (any, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("encode with %d arguments, want 2", len(args))
	}
	s, ok := args[0].(string)
	if codec, isString := args[1].(string); !ok || !isString || codec != "latin1" {
		return nil, fmt.Errorf("encode of %T to %v, want a string to latin1", args[0], args[1])
	}
	if err := n.spend(len(s)); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, fmt.Errorf("encode %q to latin1: want a code point below 256", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}
