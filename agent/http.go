package agent

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpWithin bounds reading a request and writing its answer, httpIdle how long a connection may wait for the next.
const (
	httpWithin = 10 * time.Second
	httpIdle   = 15 * time.Second
)

// addressFile tells where this agent serves HTTP, host:port, or HTTPOff.
const addressFile = "http.addr"

// HTTPOff is the text of the address file of an agent that serves no HTTP.
const HTTPOff = "off"

// serveHTTP serves status, metrics, report and what steers the agent until ctx ends. An empty address serves nothing.
func (a *Agent) serveHTTP(ctx context.Context) error {
	if a.cfg.HTTP.Listen == "" {
		return errors.Join(a.store.remove(tokenFile), a.store.write(addressFile, []byte(HTTPOff+"\n")))
	}
	l, err := listen(a.cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	token := newToken()
	err = a.store.write(tokenFile, []byte(token+"\n"))
	if err == nil {
		err = a.store.write(addressFile, []byte(l.Addr().String()+"\n"))
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	address, ok := l.Addr().(*net.TCPAddr)
	g := &guard{next: a.routes(token), instance: Instance(token), local: ok && address.IP.IsLoopback(), turns: make(chan struct{}, httpAtOnce)}
	s := &http.Server{
		Handler: g, ReadTimeout: httpWithin, WriteTimeout: httpWithin, IdleTimeout: httpIdle, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // of clients' mistakes
	}
	a.start(func() {
		if err := s.Serve(newCapped(l)); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error().Str("event", "http_failed").Err(err).Msg("status is not served any more")
		}
	})
	a.start(func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.Shutdown(stop) != nil {
			_ = s.Close() // connections that do not end in time are cut
		}
		if err := errors.Join(a.store.remove(addressFile), a.store.remove(tokenFile)); err != nil {
			a.log.Warn().Str("event", "http_files").Err(err).Msg("the address of an agent that ended stays behind")
		}
	})
	return nil
}

// routes are the paths; token is what control calls must present.
func (a *Agent) routes(token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s := a.shown.snapshot(); s.Phase == "" || s.Phase == "form" {
			answer(w, http.StatusServiceUnavailable, map[string]string{"status": "waiting for members"})
			return
		}
		answer(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.shown.snapshot()) })
	mux.HandleFunc("GET /v1/report", a.serveReport)
	mux.HandleFunc("GET /v1/cluster", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.cluster(time.Now())) })
	mux.HandleFunc("GET /v1/members", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, a.cluster(time.Now()).Members)
	})
	mux.HandleFunc("GET /v1/rounds/{round}", a.serveExplain)
	for _, what := range []string{steerPause, steerResume, steerLeave} {
		mux.HandleFunc("POST /v1/"+what, control(token, a.serveSteer(what)))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{shown: &a.shown}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

func (a *Agent) serveExplain(w http.ResponseWriter, r *http.Request) {
	e, err := a.explain(r.PathValue("round"))
	if err != nil {
		refuse(w, http.StatusNotFound, "%v", err)
		return
	}
	answer(w, http.StatusOK, e)
}

func (a *Agent) serveReport(w http.ResponseWriter, _ *http.Request) {
	r, _, err := a.report()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "%v", err)
		return
	}
	answer(w, http.StatusOK, r)
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := encode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that went away needs no answer
}

// metrics shows the status to Prometheus, made anew at each scrape.
type metrics struct{ shown *shown }

// Describe sends nothing: the collector is unchecked, its metrics are made in Collect.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the figures of the status.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	s, own := m.shown.snapshot(), m.shown.summary()
	labels := prometheus.Labels{"agent": s.Name}
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("shoal_"+name, help, nil, labels), kind, v)
	}
	send(prometheus.GaugeValue, "round", "Round at work on, counted from 1.", float64(s.Round))
	send(prometheus.GaugeValue, "generation", "Number of the roster.", float64(s.Generation))
	send(prometheus.GaugeValue, "step", "Steps done in this round.", float64(s.Step))
	send(prometheus.GaugeValue, "train_loss", "Training loss over the last steps.", s.Loss)
	send(prometheus.GaugeValue, "images_per_second", "Training speed over the run.", own.ImagesPerSecond)
	send(prometheus.GaugeValue, "peak_rss_bytes", "Largest resident size.", float64(s.PeakRSSBytes))
	send(prometheus.CounterValue, "images_total", "Images trained on since the start.", float64(s.Images))
	send(prometheus.CounterValue, "exchange_sent_bytes_total", "Bytes sent in exchanges since the start.", float64(s.Sent))
	send(prometheus.CounterValue, "exchange_received_bytes_total", "Bytes received in exchanges since the start.", float64(s.Received))
	if celsius, ok := Temperature(); ok {
		send(prometheus.GaugeValue, "temperature_celsius", "Of the hottest part that the system measures.", celsius)
	}
	alive := 0
	for _, member := range s.Members {
		if member.State == "alive" {
			alive++
		}
	}
	send(prometheus.GaugeValue, "members_alive", "Members alive in this agent's view.", float64(alive))
	if s.Score != nil {
		send(prometheus.GaugeValue, "test_accuracy", "Newest test accuracy of the shared model, 0 to 1.", s.Score.TestAccuracy)
		send(prometheus.GaugeValue, "test_loss", "Newest test loss of the shared model.", s.Score.TestLoss)
	}
}
