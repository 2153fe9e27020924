package configs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// presetKey names the preset to start from. It is a key of files, environment and flags, but not a field of Config: a
// loaded configuration has the preset's values in it.
const presetKey = "preset"

// field is one value of a Config: where it is and how its text reads.
type field struct {
	path  string // learner.sgd.rate
	index []int  // for reflect.Value.FieldByIndex
	typ   reflect.Type
}

// fields lists every value of a Config in the order of its declaration.
func fields() []field { return fieldsOf(reflect.TypeFor[Config](), "", nil) }

func fieldsOf(t reflect.Type, prefix string, index []int) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		path := prefix + f.Tag.Get("yaml")
		at := append(append([]int{}, index...), i)
		if f.Type.Kind() == reflect.Struct {
			list = append(list, fieldsOf(f.Type, path+".", at)...)
			continue
		}
		list = append(list, field{path: path, index: at, typ: f.Type})
	}
	return list
}

// find returns the field at path.
func find(path string) (field, bool) {
	for _, f := range fields() {
		if f.path == path {
			return f, true
		}
	}
	return field{}, false
}

// isSection reports whether path is the start of other paths; the empty path is.
func isSection(path string) bool {
	return path == "" || len(children(path)) > 0
}

// children are the keys right below the section path, in the order of declaration.
func children(path string) []string {
	prefix := ""
	if path != "" {
		prefix = path + "."
	}
	var keys []string
	for _, f := range fields() {
		rest, below := strings.CutPrefix(f.path, prefix)
		if !below {
			continue
		}
		key, _, _ := strings.Cut(rest, ".")
		if len(keys) == 0 || keys[len(keys)-1] != key {
			keys = append(keys, key)
		}
	}
	return keys
}

// variable is the environment variable of a path. No two paths have the same one; a test sees to it.
func variable(path string) string {
	return "SHOAL_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// isList reports whether the field holds several values.
func (f field) isList() bool { return f.typ.Kind() == reflect.Slice }

// in is the field's place in c.
func (f field) in(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(f.index) }

// set gives the field of c its value from texts, one unless it is a list. On an error c is unchanged.
func (f field) set(c *Config, texts []string) error {
	if !f.isList() {
		v, err := parse(f.typ, texts[0])
		if err != nil {
			return err
		}
		f.in(c).Set(v)
		return nil
	}
	list := reflect.Zero(f.typ)
	for _, text := range texts {
		v, err := parse(f.typ.Elem(), text)
		if err != nil {
			return err
		}
		list = reflect.Append(list, v)
	}
	f.in(c).Set(list)
	return nil
}

// parse reads text as a value of type t; the error says what was expected instead.
func parse(t reflect.Type, text string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		if err != nil {
			return v, fmt.Errorf("%q is not a duration; give a number with its unit, such as 200ms or 1m30s", text)
		}
		v.SetInt(int64(d))
	case t.Kind() == reflect.String:
		v.SetString(text)
	case t.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return v, fmt.Errorf("%q is neither true nor false; give one of them", text)
		}
		v.SetBool(text == "true")
	default:
		return v, parseNumber(v, text)
	}
	return v, nil
}

// parseNumber reads text into v, an int, uint64 or float64. Only decimal numbers are taken: octal, hexadecimal and
// infinite ones are more often slips than wishes.
func parseNumber(v reflect.Value, text string) error {
	var err error
	switch v.Kind() {
	case reflect.Int:
		var n int64
		n, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
	case reflect.Uint64:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v.SetUint(n)
	case reflect.Float64:
		var x float64
		x, err = strconv.ParseFloat(text, 64)
		v.SetFloat(x)
		if err == nil && (math.IsInf(x, 0) || math.IsNaN(x) || strings.ContainsAny(text, "xX_")) {
			return fmt.Errorf("%q is not a finite decimal number; give one such as 0.5 or 5e-4", text)
		}
	default:
		panic("configs: no reading of " + v.Type().String())
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%s is too large", text)
	case err != nil && v.Kind() == reflect.Float64:
		return fmt.Errorf("%q is not a number; give one such as 0.5 or 5e-4", text)
	case err != nil && v.Kind() == reflect.Uint64:
		return fmt.Errorf("%q is not a whole number of 0 or more; give one such as 12", text)
	case err != nil:
		return fmt.Errorf("%q is not a whole number; give one such as 12", text)
	}
	return nil
}

// texts are the field's values in c as set reads them.
func (f field) texts(c *Config) []string {
	v := f.in(c)
	if !f.isList() {
		return []string{format(v)}
	}
	list := make([]string, v.Len())
	for i := range list {
		list[i] = format(v.Index(i))
	}
	return list
}

// format is the text of one value, the shortest that reads back as the same.
func format(v reflect.Value) string {
	if v.Kind() == reflect.Float64 {
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}
