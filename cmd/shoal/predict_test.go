package main

import (
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/learner"
	"shoal/shards"
)

// modelOf leaves an untrained model like a run would, with changed metadata; an empty value takes a key out.
func modelOf(t *testing.T, changes map[string]string) string {
	t.Helper()
	cfg := learner.Defaults()
	cfg.Width, cfg.Batch, cfg.Threads = 0.1, 4, 1
	l, err := learner.New(cfg, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	meta := map[string]string{"mean": "0.5,0.4,0.3", "std": "0.2,0.2,0.2", "class_names": `["0","1","2","3","4","5","6","7","8","nine"]`}
	maps.Copy(meta, changes)
	maps.DeleteFunc(meta, func(_, v string) bool { return v == "" })
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := l.Save(path, meta); err != nil {
		t.Fatal(err)
	}
	return path
}

// picture is a PNG file.
func picture(t *testing.T, w, h int) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{uint8(5 * x), uint8(6 * y), 90, 255})
		}
	}
	path := filepath.Join(t.TempDir(), "picture.png")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPredictImages(t *testing.T) {
	model, small, large := modelOf(t, nil), picture(t, 32, 32), picture(t, 100, 40)
	stdout, stderr, code := shoal(t, "predict", "--json", "--model", model, small, large)
	var list []prediction
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != exitOK || len(list) != 2 {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	for i, p := range list {
		if p.Image != []string{small, large}[i] || len(p.Guesses) != predictTop {
			t.Fatalf("%+v", p)
		}
		for j, g := range p.Guesses {
			if g.Probability <= 0 || g.Probability > 1 || j > 0 && g.Probability > p.Guesses[j-1].Probability {
				t.Errorf("%s: %+v", p.Image, p.Guesses)
			}
			if want := map[bool]string{true: "nine", false: string(rune('0' + g.Index))}[g.Index == 9]; g.Class != want {
				t.Errorf("class %d is called %q", g.Index, g.Class)
			}
		}
	}
	stdout, stderr, code = shoal(t, "predict", "-m", model, small)
	if code != exitOK || !strings.HasPrefix(stdout, small+"\n") || strings.Count(stdout, " %  ") != predictTop {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// An image is fed as the model says: the normalised values are what the learner is given.
func TestPredictFeedsAsTold(t *testing.T) {
	path := picture(t, 32, 32)
	m, err := openModel(&predictFlags{model: modelOf(t, nil), std: "1,1,0.5"}, learner.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	data := shards.Defaults()
	data.Mean, data.Std = m.mean, m.std
	x, err := loadImage(path, 32, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct{ x, y int }{{0, 0}, {31, 0}, {7, 30}} {
		want := [3]float64{float64(5*at.x)/255 - 0.5, float64(6*at.y)/255 - 0.4, (90.0/255 - 0.3) / 0.5}
		for c, v := range want {
			if got := x[(at.y*32+at.x)*3+c]; math.Abs(float64(got)-v) > 1e-6 {
				t.Errorf("pixel %v, channel %d: %v, want %v", at, c, got, v)
			}
		}
	}
}

func TestPredictSet(t *testing.T) {
	args := []string{"predict", "--json", "--data", "builtin", "--set", "data.limit=20", "--set", "data.test_limit=30", "--model"}
	stdout, stderr, code := shoal(t, append(args, modelOf(t, map[string]string{"class_names": ""}))...)
	var s setScore
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if s.Images != 30 || s.Set != "builtin" || s.Accuracy < 0 || s.Accuracy > 1 || s.Loss <= 0 {
		t.Errorf("%+v", s)
	}
	if _, stderr, code = shoal(t, append(args, modelOf(t, nil))...); code != exitData || !strings.Contains(stderr, "score on builtin: its classes are") {
		t.Errorf("other classes: exit code %d: %s", code, stderr)
	}
}

func TestPredictRefuses(t *testing.T) {
	model, image := modelOf(t, nil), picture(t, 8, 8)
	text := written(t, "text.png", "hello")
	for name, v := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no model":    {[]string{image}, exitUsage, "give --model FILE"},
		"no images":   {[]string{"-m", model}, exitUsage, "give either images or --data"},
		"both":        {[]string{"-m", model, "--data", "builtin", image}, exitUsage, "give either images or --data"},
		"not a model": {[]string{"-m", text, image}, exitData, "open model: "},
		"not there":   {[]string{"-m", model, "absent.png"}, exitData, "open image: open absent.png"},
		"no image":    {[]string{"-m", model, text}, exitData, text + ": decode image"},
		"no mean":     {[]string{"-m", modelOf(t, map[string]string{"mean": ""}), image}, exitData, `its metadata have no "mean"; give --mean`},
		"bad mean":    {[]string{"-m", model, "--mean", "1,2", image}, exitData, `read --mean: read "1,2": give three numbers`},
		"bad std":     {[]string{"-m", modelOf(t, map[string]string{"std": "1,NaN,1"}), image}, exitData, `read "1,NaN,1": give three numbers`},
		"bad names":   {[]string{"-m", modelOf(t, map[string]string{"class_names": `["a"]`}), image}, exitData, "not a JSON list of 10 names"},
		"bad width":   {[]string{"-m", modelOf(t, map[string]string{"width": "wide"}), image}, exitData, `metadata "width" is "wide", not a number`},
		"other width": {[]string{"-m", modelOf(t, map[string]string{"width": "1"}), image}, exitData, "has shape"},
		"other net":   {[]string{"-m", modelOf(t, map[string]string{"model": "resnet"}), image}, exitData, `model: "resnet" is unknown`},
	} {
		if _, stderr, code := shoal(t, append([]string{"predict"}, v.args...)...); code != v.code || !strings.Contains(stderr, v.want) {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
}

func TestExport(t *testing.T) {
	model, out := modelOf(t, nil), filepath.Join(t.TempDir(), "model.onnx")
	stdout, stderr, code := shoal(t, "export", "onnx", "--json", "--model", model, "--out", out)
	info, err := os.Stat(out)
	var e exported
	if jerr := json.Unmarshal([]byte(stdout), &e); jerr != nil || err != nil || code != exitOK || e.Path != out || e.Bytes != info.Size() {
		t.Fatalf("exit code %d, %v, %v: %s%s", code, jerr, err, stdout, stderr)
	}
	for name, v := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no model":    {nil, exitUsage, "give --model FILE"},
		"not there":   {[]string{"-m", "absent"}, exitData, "open model: "},
		"other net":   {[]string{"-m", modelOf(t, map[string]string{"model": "resnet"})}, exitData, `is "resnet", not mobilenet_v2`},
		"nowhere":     {[]string{"-m", model, "-O", filepath.Join(out, "x")}, exitFailure, "write ONNX model: "},
		"an argument": {[]string{"x"}, exitUsage, "unknown command"},
	} {
		if _, stderr, code := shoal(t, append([]string{"export", "onnx"}, v.args...)...); code != v.code || !strings.Contains(stderr, v.want) {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
}
