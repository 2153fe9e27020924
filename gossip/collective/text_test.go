package collective

import (
	"reflect"
	"strings"
	"testing"
)

func TestTextIsThePlan(t *testing.T) {
	p, err := Arrange("ring", 3, []int{0, 2, 1}, []int{0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Encode(), `{"plan":"ring","order":[0,2,1],"nodes":[0,0,1]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, name := range Names() {
		plain, _ := New(name, 5)
		for _, p := range []Plan{p, plain} {
			back, err := Decode(p.Encode(), p.Size)
			if err != nil || !reflect.DeepEqual(p, back) {
				t.Errorf("%s came back as %s: %v", p.Encode(), back.Encode(), err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, "EOF"},
		{`ring`, "invalid character"},
		{`{"plan":"ring"} {}`, "more than one value"},
		{`{"plan":"auto"}`, "unknown, give one of ring"},
		{`{"plan":"ring","step":1}`, "unknown field"},
		{`{"plan":"ring","order":[0,1]}`, "order [0 1] is not of the ranks 0 to 2"},
		{`{"plan":"ring","order":[0,1,1]}`, "is not of the ranks"},
		{`{"plan":"ring","order":[]}`, "is not of the ranks"},
		{`{"plan":"ring","nodes":[0,1]}`, "nodes of 2 ranks"},
		{`{"plan":"ring","nodes":[0,1,3]}`, "rank 2 is on node 3"},
		{`{"plan":"ring","nodes":[0,-1,2]}`, "rank 1 is on node -1"},
		{`{"plan":"` + strings.Repeat("x", MaxTextBytes) + `"}`, "limit 65536"},
	} {
		if p, err := Decode(c.text, 3); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %s, %v, want %q", c.text, p.Encode(), err, c.want)
		}
	}
	for _, size := range []int{-1, 0, maxSize + 1} {
		if _, err := Decode(`{"plan":"ring"}`, size); err == nil {
			t.Errorf("a ring of %d is allowed", size)
		}
	}
}

// FuzzDecode: any text is refused, or is a plan that keeps its promises and whose text makes the same plan.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"plan":"ring","order":[0,2,1],"nodes":[0,0,1]}`, `{"plan":"mesh"}`, `{"plan":"tree","order":[2,1,0]}`, `{"plan":"star","nodes":[0,0,0]}`,
		`{"plan":"ring","order":null}`, `{`, `{"plan":"ring","order":[9223372036854775807,0,1]}`,
	} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, size int) {
		if size > 12 {
			size %= 12
		}
		p, err := Decode(s, size)
		if err != nil {
			return
		}
		if err := simulate(p); err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(p.Encode(), size); err != nil || !reflect.DeepEqual(p, back) {
			t.Fatalf("%q became %s: %v", s, p.Encode(), err)
		}
	})
}
