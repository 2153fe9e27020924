package shards

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// errFatal marks failures that another try will not mend.
var errFatal = errors.New("not to be tried again")

// fatal keeps its error's text and marks it.
type fatal struct{ error }

func (f fatal) Is(target error) bool { return target == errFatal }
func (f fatal) Unwrap() error        { return f.error }

// transfer requests what the part file lacks until it has it all, with a pause after each failure.
func (f *fetcher) transfer(ctx context.Context) error {
	pause, failures := fetchBackoff, 0
	for {
		before := f.done
		err := f.request(ctx)
		if err == nil || errors.Is(err, errFatal) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failures++; f.done > before {
			pause, failures = fetchBackoff, 1
		}
		if failures == maxFetchTries {
			return fmt.Errorf("%w (%d tries, %d bytes are kept in %s.part): run it again to go on", err, failures, f.done, f.dest)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// request makes one connection and writes what it brings. It is cancelled when nothing comes for fetchStall.
func (f *fetcher) request(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(fetchStall, func() {
		cancel(fmt.Errorf("no byte came for %v", fetchStall))
	})
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return fatal{fmt.Errorf("%w: give the URL of a file, https://…", err)}
	}
	if f.done > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.done))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return stalled(ctx, err)
	}
	defer resp.Body.Close()
	total, err := f.accept(resp)
	if err != nil || total == f.done {
		return err
	}
	if total > maxFetchBytes {
		return fatal{fmt.Errorf("the file has %d bytes, the limit is %d", total, int64(maxFetchBytes))}
	}
	if err := f.copy(resp.Body, total, watch); err != nil {
		return stalled(ctx, err)
	}
	return nil
}

// stalled prefers the reason of a cancelled request to the request's own error.
func stalled(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, errFatal) {
		return context.Cause(ctx)
	}
	return err
}

// accept reads the answer's header: it brings the file aligned with what the part file has, and says how long the
// whole is, -1 if unknown.
func (f *fetcher) accept(resp *http.Response) (total int64, err error) {
	switch resp.StatusCode {
	case http.StatusOK: // the whole, whether or not a range was asked for
		if f.done > 0 {
			if err := f.restart(); err != nil {
				return 0, fatal{err}
			}
		}
		return resp.ContentLength, nil
	case http.StatusPartialContent:
		var first, last int64
		header := resp.Header.Get("Content-Range")
		if _, err := fmt.Sscanf(header, "bytes %d-%d/%d", &first, &last, &total); err != nil || first != f.done || total <= last {
			return 0, fatal{fmt.Errorf("the server answers bytes from %d on with Content-Range %q: remove %s.part to start afresh",
				f.done, header, f.dest)}
		}
		return total, nil
	case http.StatusRequestedRangeNotSatisfiable: // the part file is whole, or longer than the file
		if resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", f.done) {
			return f.done, nil
		}
		if f.done == 0 {
			return 0, fatal{fmt.Errorf("the server says %s to a request for the whole file", resp.Status)}
		}
		if err := f.restart(); err != nil {
			return 0, fatal{err}
		}
		return 0, errors.New("the part file was longer than the file")
	}
	err = fmt.Errorf("the server says %s", resp.Status)
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout:
		return 0, err
	case strings.HasPrefix(resp.Status, "404"):
		return 0, fatal{fmt.Errorf("%w: the file has moved, give another URL", err)}
	}
	return 0, fatal{fmt.Errorf("%w: give another URL, or download the file by other means", err)}
}

// copy appends a body to the part file.
func (f *fetcher) copy(body io.Reader, total int64, watch *time.Timer) error {
	buf := make([]byte, 1<<17)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			watch.Reset(fetchStall)
			if f.done+int64(n) > maxFetchBytes {
				return fatal{fmt.Errorf("more than %d bytes come", int64(maxFetchBytes))}
			}
			w, err := f.part.Write(buf[:n])
			f.sum.Write(buf[:w])
			f.done += int64(w)
			if err != nil {
				return fatal{err}
			}
			f.report(f.done, total)
		}
		if err == io.EOF && total >= 0 && f.done != total {
			return fmt.Errorf("the connection ended after %d of %d bytes", f.done, total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
