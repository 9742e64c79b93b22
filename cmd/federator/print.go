package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// printer writes text for people.
type printer struct{ w *tabwriter.Writer }

// line writes one line; tabs align it with the lines around it.
func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// row writes the cells of a table's row; an empty cell shows as "-".
func (p *printer) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		if texts[i] = cell(fmt.Sprint(c)); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(p.w, strings.Join(texts, "\t"))
}

// gap ends a table, so that the next has columns of its own.
func (p *printer) gap() {
	_ = p.w.Flush() // the last Flush reports
	fmt.Fprintln(p.w)
}

// print writes an answer as the user asked for it.
func (a *app) print(message proto.Message, text show) error {
	if a.output == "json" {
		b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(message)
		if err != nil {
			return err
		}
		return a.printJSON(json.RawMessage(b))
	}
	p := &printer{tabwriter.NewWriter(plain{a.out}, 0, 0, 2, ' ', 0)}
	text(p)
	return p.w.Flush()
}

// printJSON writes a value as indented JSON.
func (a *app) printJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = a.out.Write(out.Bytes())
	return err
}

func said(format string, args ...any) show {
	return func(p *printer) { p.line(format, args...) }
}

// moment writes a time, "" if it is unset.
func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// span writes a duration to three digits or so, "" if it is unset.
func span(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	v := d.AsDuration()
	switch {
	case v.Abs() < time.Millisecond:
		return v.Round(time.Microsecond).String()
	case v.Abs() < time.Second:
		return v.Round(100 * time.Microsecond).String()
	case v.Abs() < time.Minute:
		return v.Round(100 * time.Millisecond).String()
	}
	return v.Round(time.Second).String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
