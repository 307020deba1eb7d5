// An event stream as programs in Go read it that use no library: net/http, bufio.Scanner, and a switch.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime"
	"strings"

	protocol "../go"
)

func main() {
	version := func() string { return strings.TrimPrefix(runtime.Version(), "go") }
	protocol.Describe("go-scanner", version, "Hd", "Bd", "Gz", "Ch")
	ctx, cancel := context.WithCancel(context.Background())
	protocol.OnClose(cancel)
	if err := stream(protocol.Request().WithContext(ctx)); err != nil && ctx.Err() == nil {
		protocol.Error(err, true)
	}
	protocol.Closed()
	select {}
}

// stream reports each event, to the end of the stream.
func stream(request *http.Request) error {
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-cache")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("type %q", kind)
	}
	protocol.Open()

	var data []string
	var kind, id string
	events := 0
	scanner := bufio.NewScanner(response.Body)
	for scanner.Scan() {
		line := scanner.Text()
		if line == "" {
			if len(data) > 0 {
				if request.Context().Err() != nil {
					return nil
				}
				protocol.Event(kind, strings.Join(data, "\n"), id)
				if events++; events == protocol.Options.CloseAfterEvents {
					return nil
				}
			}
			data, kind = nil, ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "data":
			data = append(data, value)
		case "event":
			kind = value
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
	return scanner.Err()
}
