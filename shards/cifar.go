package shards

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The format of CIFAR-10, both distributions: 32×32 pixels as 1024 red, 1024 green and 1024 blue bytes, row-major.
// A record of the binary distribution is a byte of label and the pixels, one after the other to the file's end. For
// example a file of 6146 bytes has two images, their labels in bytes 0 and 3073.
const (
	cifarSide   = 32
	cifarPlane  = cifarSide * cifarSide
	cifarPixels = 3 * cifarPlane
	cifarRecord = 1 + cifarPixels

	maxBatchFiles = 1000     // the official distributions have 5
	maxMetaBytes  = 64 << 10 // names of classes: the official file has 61 bytes
)

// cifarClasses are the names in the order of the labels, for a copy without its batches.meta.
func cifarClasses() []string {
	return strings.Fields("airplane automobile bird cat deer dog frog horse ship truck")
}

// batches are the files of a CIFAR-10 distribution; the last is the test batch.
type batches struct {
	names  []string
	sizes  []int64
	gap    int    // the number of the first training batch that is missing before the last, 0 if there is none
	meta   string // names of the classes, "" if there is none
	python bool
}

// findBatches picks a distribution out of a list of files, or returns nil if there is none. With both there, the
// binary one is taken, as it needs less memory to read.
func findBatches(entries []entry) *batches {
	if b := findNamed(entries, ".bin", "batches.meta.txt"); b != nil {
		return b
	}
	if b := findNamed(entries, "", "batches.meta"); b != nil {
		b.python = true
		return b
	}
	return nil
}

func findNamed(entries []entry, ext, meta string) *batches {
	type numbered struct {
		entry
		number int
	}
	var train []numbered
	b := &batches{}
	var test entry
	for _, e := range entries {
		base := path.Base(e.name)
		number, isTrain := strings.CutPrefix(strings.TrimSuffix(base, ext), "data_batch_")
		k, err := strconv.Atoi(number)
		switch {
		case e.dir:
		case isTrain && err == nil && strings.HasSuffix(base, ext):
			train = append(train, numbered{e, k})
		case base == "test_batch"+ext:
			test = e
		case base == meta:
			b.meta = e.name
		}
	}
	if len(train) == 0 && test.name == "" {
		return nil
	}
	slices.SortFunc(train, func(x, y numbered) int { return x.number - y.number })
	for i, e := range train {
		b.names, b.sizes = append(b.names, e.name), append(b.sizes, e.size)
		if b.gap == 0 && i > 0 && e.number > train[i-1].number+1 {
			b.gap = train[i-1].number + 1
		}
	}
	b.names, b.sizes = append(b.names, test.name), append(b.sizes, test.size)
	return b
}

// check returns what is missing or doubled.
func (b *batches) check() error {
	last := len(b.names) - 1
	switch {
	case last > maxBatchFiles:
		return fmt.Errorf("%d training batches, want at most %d", last, maxBatchFiles)
	case last == 0:
		return fmt.Errorf("%s is there but no data_batch_1: fetch CIFAR-10 again", b.names[last])
	case b.names[last] == "":
		return fmt.Errorf("%s is there but no test_batch: fetch CIFAR-10 again", b.names[0])
	}
	for i, name := range b.names[:last] {
		if i > 0 && path.Base(name) == path.Base(b.names[i-1]) {
			return fmt.Errorf("%s and %s: two copies of one batch, remove one", b.names[i-1], name)
		}
	}
	if b.gap > 0 {
		return fmt.Errorf("%s is there but no data_batch_%d: fetch CIFAR-10 again, or train on fewer images with data.limit",
			b.names[last-1], b.gap)
	}
	return nil
}

func (b *batches) read(ctx context.Context, src files, cfg Config) (*Set, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	set := &Set{Classes: cifarClasses()}
	if b.meta != "" {
		err := src.each(ctx, []string{b.meta}, func(_ int, r io.Reader) (err error) {
			set.Classes, err = b.readClasses(r)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if b.python {
		return set, b.readPython(ctx, src, cfg, set)
	}
	return set, b.readBinary(ctx, src, cfg, set)
}

func (b *batches) readClasses(r io.Reader) ([]string, error) {
	data, err := readAll(r, maxMetaBytes)
	if err != nil {
		return nil, err
	}
	classes := strings.Fields(string(data))
	if b.python {
		if classes, err = decodeMeta(data); err != nil {
			return nil, err
		}
	}
	if len(classes) == 0 || len(classes) > 256 {
		return nil, fmt.Errorf("names %d classes, want 1..256", len(classes))
	}
	return classes, nil
}

// readBinary reads every batch to its place, so the pixels are held once whatever order the files come in.
func (b *batches) readBinary(ctx context.Context, src files, cfg Config, set *Set) error {
	last := len(b.names) - 1
	first, total := make([]int, len(b.names)), 0 // the image that a batch begins with
	for i, size := range b.sizes {
		if size%cifarRecord != 0 || size == 0 {
			return fmt.Errorf("%s: %d bytes is not a number of %d-byte records: it is cut short, fetch it again",
				b.names[i], size, cifarRecord)
		}
		if i == last {
			continue
		}
		first[i] = total
		total += int(size / cifarRecord)
	}
	var err error
	if set.Train, err = newImages(limited(total, cfg.Limit), cifarSide, cifarSide); err != nil {
		return err
	}
	tests := limited(int(b.sizes[last]/cifarRecord), cfg.TestLimit)
	if set.Test, err = newImages(tests, cifarSide, cifarSide); err != nil {
		return err
	}
	return src.each(ctx, b.names, func(i int, r io.Reader) error {
		to := set.Train
		if i == last {
			to = set.Test
		}
		count := min(int(b.sizes[i]/cifarRecord), to.N-first[i])
		return readRecords(r, to, first[i], count, len(set.Classes))
	})
}

// readRecords reads count records into images first, first+1, … of to.
func readRecords(r io.Reader, to Images, first, count, classes int) error {
	const chunk = 64
	buf := make([]byte, chunk*cifarRecord)
	for done := 0; done < count; {
		n := min(chunk, count-done)
		if _, err := io.ReadFull(r, buf[:n*cifarRecord]); err != nil {
			return fmt.Errorf("read records %d to %d: %w", done, done+n-1, damaged(err))
		}
		for k := range n {
			rec := buf[k*cifarRecord : (k+1)*cifarRecord]
			if int(rec[0]) >= classes {
				return badLabel(done+k, int(rec[0]), classes)
			}
			to.Labels[first+done+k] = int32(rec[0])
			interleave(to.image(first+done+k), rec[1:])
		}
		done += n
	}
	return nil
}

func badLabel(record, label, classes int) error {
	return fmt.Errorf("record %d has label %d, want 0..%d: the file is damaged or of another set", record, label, classes-1)
}

// interleave turns planes (3, 32, 32) into pixels (32, 32, 3).
func interleave(dst, planes []byte) {
	r, g, b := planes[:cifarPlane], planes[cifarPlane:2*cifarPlane], planes[2*cifarPlane:cifarPixels]
	dst = dst[:cifarPixels]
	for i := range r {
		dst[3*i], dst[3*i+1], dst[3*i+2] = r[i], g[i], b[i]
	}
}
