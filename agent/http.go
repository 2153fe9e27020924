package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// httpWithin bounds reading a request and writing its answer.
const httpWithin = 10 * time.Second

// serveHTTP serves status, metrics and report until ctx ends. An empty address serves nothing.
func (a *Agent) serveHTTP(ctx context.Context) error {
	if a.cfg.HTTP.Listen == "" {
		return nil
	}
	l, err := listen(a.cfg.HTTP.Listen)
	if err != nil {
		return err
	}
	if err := a.store.write("http.addr", []byte(l.Addr().String()+"\n")); err != nil {
		return errors.Join(err, l.Close())
	}
	s := &http.Server{Handler: a.routes(), ReadTimeout: httpWithin, WriteTimeout: httpWithin, MaxHeaderBytes: 16 << 10}
	a.start(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
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
	})
	return nil
}

func (a *Agent) routes() http.Handler {
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
	mux.HandleFunc("GET /v1/report", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.report()) })
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{shown: &a.shown})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := encode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // a client that went away needs no answer
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
