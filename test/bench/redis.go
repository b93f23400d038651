package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"keyway/internal/secret"
	"keyway/internal/session/redis"
	"keyway/internal/testkit/parts"
)

// redisServer is a redis-server of this run's own, that keeps nothing on disk.
type redisServer struct {
	addr string
	cmd  *exec.Cmd
}

// startRedis returns nil, without an error, where redis-server is not installed.
func startRedis(ctx context.Context, dir string) (*redisServer, error) {
	program, err := parts.Redis.Find()
	if err != nil {
		return nil, nil
	}
	for range 5 { // somebody may take the free port first
		var s *redisServer
		if s, err = startRedisOnce(ctx, program, dir); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("redis-server does not start: %w", err)
}

func startRedisOnce(ctx context.Context, program, dir string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &redisServer{addr: l.Addr().String()}
	_, port, _ := net.SplitHostPort(s.addr)
	_ = l.Close()
	s.cmd = exec.CommandContext(ctx, program, "--port", port, "--bind", "127.0.0.1", "--dir", filepath.Clean(dir),
		"--save", "", "--appendonly", "no", "--daemonize", "no")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = s.info("server"); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			s.close()
			return nil, err
		}
	}
}

func (s *redisServer) close() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// open is a store on the server, as of one replica.
func (s *redisServer) open(ctx context.Context, prefix string) (*redis.Store, error) {
	return redis.Open(ctx, redis.Options{URL: secret.NewValue([]byte("redis://" + s.addr + "/0")), Prefix: prefix})
}

// info is a section of INFO: names and what stands behind the colon.
func (s *redisServer) info(section string) (map[string]string, error) {
	text, err := s.do("INFO " + section)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// do sends one inline command, and returns its answer, a string.
func (s *redisServer) do(command string) (string, error) {
	c, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	head, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(head, "+") {
		return strings.TrimSpace(head[1:]), nil
	}
	if !strings.HasPrefix(head, "$") {
		return "", errors.New("redis-server answered " + strings.TrimSpace(head))
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil {
		return "", err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	return string(body), err
}

// commands is how often each command was carried out so far, those aside with
// which this program asks, and with which a client keeps its connections.
func (s *redisServer) commands() (map[string]int, error) {
	fields, err := s.info("commandstats")
	if err != nil {
		return nil, err
	}
	calls := map[string]int{}
	for name, value := range fields {
		name = strings.TrimPrefix(name, "cmdstat_")
		if name == "info" || name == "ping" || strings.HasPrefix(name, "client|") || name == "hello" {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("commandstats of %s: %q", name, value)
		}
		calls[name] = n
	}
	return calls, nil
}

// memory is used_memory, in bytes.
func (s *redisServer) memory() (float64, error) {
	fields, err := s.info("memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(fields["used_memory"], 64)
}
