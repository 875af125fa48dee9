# What can be done with a checkout. The work behind each line is Rust or a short script.

SHELL := /bin/bash
# Programs that `cargo install` put there, cargo-deny among them.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO  ?= cargo
BUILT  := $(or $(CARGO_TARGET_DIR),target)

# `make install`: where things go. DESTDIR is put before all of it, for packages.
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
SBINDIR    ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec/belay
DOCDIR     ?= $(PREFIX)/share/doc/belay
# systemd looks below /usr/local as well as below /usr.
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
# Which build to install: release, or debug for a try.
PROFILE    ?= release

INSTALLED := belayd belay belay-agent-libvirt
DEMO_CRATES := belayd belay-cli belay-agent-libvirt fence-belay-demo belay-demo

# `make sim SEEDS=0..1000 STEPS=3000 HOSTS=3`: simulated clusters, where each seed decides what goes wrong.
# `make sim SEED=42 TRACE=1`: one of them, line by line. CUT= leaves parts of it out, as the shrinker says.
SEEDS ?= 0..1000
STEPS ?= 3000
HOSTS ?=
SEED  ?=
TRACE ?=
CUT   ?=
# `make sim SCENARIO=tests/data/scenarios/recovery/….scenario`: one scenario with all that happens in it.

# `make fuzz SECONDS=60`: every fuzz target in turn; `TARGET=words` one of them. `INPUT=FILE` replays what was found, and
# `MINIMISE=1` shortens it.
fuzz: SECONDS ?= 60
TARGET   ?=
INPUT    ?=
MINIMISE ?=

.PHONY: help demo test lint bench sim fuzz build install clean

help:
	@echo 'make demo           three hosts on this machine, real VMs, and a failover to watch (Ctrl-C ends it)'
	@echo 'make demo ONCE=1    the same without waiting at the end; target/demo/report.json has the numbers'
	@echo 'make test           installs what is missing and runs every test'
	@echo 'make lint           formatting, clippy, licences'
	@echo 'make bench          the engine and the way from a death to a replacement, against the budget'
	@echo 'make sim            simulated clusters with everything going wrong (SEEDS=0..1000 STEPS=3000 HOSTS=3)'
	@echo 'make sim SEED=42    one of them; with TRACE=1 line by line'
	@echo 'make sim SCENARIO=FILE    one scenario of tests/data/scenarios, with all that happens in it'
	@echo 'make fuzz           any bytes for everything that reads bytes from outside (SECONDS=60, TARGET=words)'
	@echo 'make build          a release build'
	@echo 'make install        puts the release build in place (PREFIX=$(PREFIX), DESTDIR=)'
	@echo 'make clean          removes what was built'

demo:
	@packaging/install-prerequisites demo
	@echo 'Building Belay (the first time takes some minutes).'
	@$(CARGO) build --quiet --locked $(addprefix --package ,$(DEMO_CRATES))
	@$(BUILT)/debug/belay-demo --out $(BUILT)/demo $(if $(filter-out 0 no,$(ONCE)),--once)

test:
	@tests/run

lint:
	@packaging/install-prerequisites test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	$(CARGO) clippy --locked --package belay-fuzz --features libfuzzer --all-targets -- --deny warnings
	$(CARGO) deny --locked check licenses bans sources
	shellcheck packaging/install-prerequisites tests/run tests/fuzz/run tests/fuzz/instrument .ci/run

bench:
	@packaging/install-prerequisites demo
	$(CARGO) build --release --locked $(addprefix --package ,$(DEMO_CRATES))
	$(CARGO) bench --locked --package belay-benches

sim:
ifdef SCENARIO
	$(CARGO) run --locked --package belay-sim -- --trace $(addprefix --scenario ,$(SCENARIO))
else
	$(CARGO) run --quiet --locked --profile sim --package belay-sim -- --steps $(STEPS) $(if $(HOSTS),--hosts $(HOSTS)) \
	    $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(filter-out 0 no,$(TRACE)),--trace) $(if $(CUT),--cut '$(CUT)')
endif

fuzz:
	@packaging/install-prerequisites fuzz
	@tests/fuzz/run $(if $(INPUT),$(if $(MINIMISE),minimise,replay) '$(TARGET)' '$(INPUT)','$(SECONDS)' '$(TARGET)')

build:
	$(CARGO) build --release --locked --package belayd --package belay-cli --package belay-agent-libvirt

# Built by whoever called `make build`, installed by root; `make install` alone builds what is missing.
$(addprefix $(BUILT)/release/,$(INSTALLED)):
	$(MAKE) build

install: $(addprefix $(BUILT)/$(PROFILE)/,$(INSTALLED))
	install -D -m 0755 $(BUILT)/$(PROFILE)/belayd $(DESTDIR)$(SBINDIR)/belayd
	install -D -m 0755 $(BUILT)/$(PROFILE)/belay $(DESTDIR)$(BINDIR)/belay
	install -D -m 0755 $(BUILT)/$(PROFILE)/belay-agent-libvirt $(DESTDIR)$(LIBEXECDIR)/belay-agent-libvirt
	ln -sf $(BINDIR)/belay $(DESTDIR)$(SBINDIR)/clustat
	ln -sf $(BINDIR)/belay $(DESTDIR)$(SBINDIR)/clusvcadm
	install -d $(DESTDIR)$(UNITDIR)
	sed -e 's|@SBINDIR@|$(SBINDIR)|g' -e 's|@LIBEXECDIR@|$(LIBEXECDIR)|g' -e 's|@DOCDIR@|$(DOCDIR)|g' \
	    systemd/belayd.service.in > $(DESTDIR)$(UNITDIR)/belayd.service
	chmod 0644 $(DESTDIR)$(UNITDIR)/belayd.service
	install -D -m 0644 systemd/sysusers.d/belay.conf $(DESTDIR)$(SYSUSERSDIR)/belay.conf
	install -D -m 0644 systemd/tmpfiles.d/belay.conf $(DESTDIR)$(TMPFILESDIR)/belay.conf
	install -d $(DESTDIR)$(DOCDIR)/docs/decisions $(DESTDIR)$(DOCDIR)/agents
	install -m 0644 *.md LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(DOCDIR)
	install -m 0644 docs/*.md $(DESTDIR)$(DOCDIR)/docs
	install -m 0644 docs/decisions/*.md $(DESTDIR)$(DOCDIR)/docs/decisions
	install -m 0644 agents/PROTOCOL.md $(DESTDIR)$(DOCDIR)/agents
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then \
	    systemd-sysusers && systemd-tmpfiles --create belay.conf && systemctl daemon-reload && \
	    echo 'Installed. Write /etc/cluster/cluster.conf, then: systemctl enable --now belayd'; \
	fi

clean:
	$(CARGO) clean
