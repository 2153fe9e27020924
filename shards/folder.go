package shards

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	holdOut      = 5   // one in so many images of a class is held out for testing
	defaultInput = 128 // side of resized images when no input is given
)

// picture is one image file of a folder.
type picture struct {
	name  string
	class int32
	key   uint64 // hash of the path: its place in the fixed shuffle
}

// folder is what a list of files says about a set of images.
type folder struct {
	classes     []string
	train, test []picture
}

// readFolder decodes the images of a class per directory.
func readFolder(ctx context.Context, src files, entries []entry, cfg Config, input int, seed uint64) (*Set, error) {
	f, err := planFolder(entries, seed)
	if err != nil {
		return nil, err
	}
	f.train = f.train[:limited(len(f.train), cfg.Limit)]
	f.test = f.test[:limited(len(f.test), cfg.TestLimit)]
	if input <= 0 {
		input = defaultInput
	}
	a := &album{pictures: slices.Concat(f.train, f.test), input: input}
	err = a.read(ctx, src)
	if errors.Is(err, errMixed) { // as the first image's size will not do for all, the second pass resizes
		a = &album{pictures: a.pictures, input: input, resize: true}
		err = a.read(ctx, src)
	}
	if err != nil {
		return nil, err
	}
	n := len(f.train)
	return &Set{Classes: f.classes, Train: a.all.part(0, n), Test: a.all.part(n, a.all.N)}, nil
}

// planFolder sorts image files into classes and portions by their paths, …/train/<class>/<image> or …/<class>/<image>.
func planFolder(entries []entry, seed uint64) (*folder, error) {
	portions, root, err := sortImages(entries)
	if err != nil {
		return nil, err
	}
	f := &folder{}
	if all, ok := portions[""]; ok {
		f.classes = classesOf(all)
		if err := checkEmpty(entries, root, f.classes); err != nil {
			return nil, err
		}
		return f, f.holdOut(f.pictures(all), seed)
	}
	held := "test"
	if _, ok := portions[held]; !ok {
		held = "val"
	}
	f.classes = classesOf(portions["train"])
	if other := classesOf(portions[held]); !slices.Equal(other, f.classes) {
		return nil, fmt.Errorf("classes differ: train/ has %.200v, %s/ has %.200v", f.classes, held, other)
	}
	for _, portion := range []string{"train", held} {
		if err := checkEmpty(entries, path.Join(root, portion), f.classes); err != nil {
			return nil, err
		}
	}
	f.train, f.test = f.pictures(portions["train"]), f.pictures(portions[held])
	return f, nil
}

// sortImages finds the image files of every portion, all under one root.
func sortImages(entries []entry) (portions map[string][]entry, root string, err error) {
	portions = map[string][]entry{}
	for _, e := range entries {
		if ok, err := isImage(e); err != nil {
			return nil, "", err
		} else if !ok {
			continue
		}
		portion, above, err := place(e.name)
		if err != nil {
			return nil, "", err
		}
		if len(portions) == 0 {
			root = above
		}
		if above != root {
			return nil, "", fmt.Errorf("%s: a class under %q, while others are under %q: keep one tree of classes", e.name, above, root)
		}
		portions[portion] = append(portions[portion], e)
	}
	if len(portions) == 0 {
		return nil, "", nothing(entries)
	}
	return portions, root, checkPortions(portions)
}

// nothing says that there are no images, and where they may be instead.
func nothing(entries []entry) error {
	for _, e := range entries {
		if ext := path.Ext(e.name); !e.dir && (ext == ".gz" || ext == ".tgz" || ext == ".zip") {
			return fmt.Errorf("neither CIFAR-10 nor folders of images, but %s: give the path of that", e.name)
		}
	}
	return errors.New("neither CIFAR-10 nor a JPEG or PNG in a folder per class: give the folder or archive that has them")
}

// isImage tells image files from others, and refuses those that it would be wrong to pass over.
func isImage(e entry) (bool, error) {
	if e.dir {
		return false, nil
	}
	switch strings.ToLower(path.Ext(e.name)) {
	case ".jpg", ".jpeg", ".png":
		return true, nil
	case ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".heic", ".avif":
		return false, fmt.Errorf("%s: want JPEG or PNG: convert it or take it away", e.name)
	}
	return false, nil
}

// place splits a path into its portion (train, test, val or none) and the folder above.
func place(name string) (portion, above string, err error) {
	class := path.Dir(name)
	above = path.Dir(class)
	switch path.Base(class) {
	case ".", "train", "test", "val":
		return "", "", fmt.Errorf("%s: not in a folder named for its class: move it to <class>/%s", name, path.Base(name))
	}
	switch base := path.Base(above); base {
	case "train", "test", "val":
		return base, path.Dir(above), nil
	}
	return "", above, nil
}

func checkPortions(portions map[string][]entry) error {
	has := func(p string) bool { return len(portions[p]) > 0 }
	switch {
	case has("") && len(portions) > 1:
		return fmt.Errorf("%s: outside of train/ and test/, where others are", portions[""][0].name)
	case has("test") && has("val"):
		return errors.New("both test/ and val/: take one of them away")
	case !has("") && !has("train"):
		return errors.New("test images but no train/<class>/ folders")
	case has("train") && len(portions) == 1:
		return errors.New("train/ but no test/<class>/ folders: add them, or give train/ itself to hold one in five out")
	}
	return nil
}

// classesOf are the sorted names of the folders that files are in.
func classesOf(list []entry) []string {
	seen := map[string]bool{}
	var classes []string
	for _, e := range list {
		if c := path.Base(path.Dir(e.name)); !seen[c] {
			seen[c] = true
			classes = append(classes, c)
		}
	}
	slices.Sort(classes)
	return classes
}

// checkEmpty finds folders among the classes that hold no image, and too few or too many classes.
func checkEmpty(entries []entry, root string, classes []string) error {
	if len(classes) < 2 || len(classes) > maxLabels {
		return fmt.Errorf("%d classes (%.100v), want 2..%d: one folder of images per class", len(classes), classes, maxLabels)
	}
	for _, e := range entries {
		if !e.dir || e.name == "." || path.Dir(e.name) != root {
			continue
		}
		if _, ok := slices.BinarySearch(classes, path.Base(e.name)); !ok {
			return fmt.Errorf("%s: no images in this folder: fill it or take it away", e.name)
		}
	}
	return nil
}

// pictures are files in an order that is fixed by their paths and mixes the classes.
func (f *folder) pictures(list []entry) []picture {
	pictures := make([]picture, len(list))
	for i, e := range list {
		dir, base := path.Split(e.name)
		class := path.Base(dir)
		label, _ := slices.BinarySearch(f.classes, class)
		h := fnv.New64a()
		io.WriteString(h, class+"/"+base)
		pictures[i] = picture{name: e.name, class: int32(label), key: mix(h.Sum64())}
	}
	slices.SortFunc(pictures, func(a, b picture) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.name, b.name))
	})
	return pictures
}

// holdOut takes one in five images of every class, at least one, for testing.
func (f *folder) holdOut(all []picture, seed uint64) error {
	by := make([][]int, len(f.classes))
	for i, p := range all {
		by[p.class] = append(by[p.class], i)
	}
	test := make([]bool, len(all))
	for c, list := range by {
		if len(list) < 2 {
			return fmt.Errorf("class %s has 1 image: none is left to test with, add one", f.classes[c])
		}
		slices.SortFunc(list, func(a, b int) int {
			return cmp.Compare(mixAll(seed, streamHoldOut, all[a].key), mixAll(seed, streamHoldOut, all[b].key))
		})
		for _, i := range list[:max(1, len(list)/holdOut)] {
			test[i] = true
		}
	}
	for i, p := range all {
		if test[i] {
			f.test = append(f.test, p)
		} else {
			f.train = append(f.train, p)
		}
	}
	return nil
}
