terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = ">= 2.20.0"
    }
  }
}

# A chain of three, each with a heredoc of another kind.

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
  dir  = "/workspace"

  env = {
    EDITOR = "vim"
  }
}

locals {
  minutes = 5
  script  = file("${path.module}/scripts/serve.sh")
}

resource "coder_script" "clone" {
  agent_id           = coder_agent.main.id
  display_name       = "Clone the repository"
  icon               = "/icon/git.svg"
  run_on_start       = true
  start_blocks_login = true
  timeout            = local.minutes * 60
  script             = <<-EOT
    #!/bin/bash
    set -euo pipefail
    if [ ! -d repo ]; then
      git clone --depth 1 https://git.example.org/repo.git "$${TARGET:-repo}"
    fi

    echo 'it\'s "there"'
  EOT
}

resource "coder_script" "deps" {
  agent_id           = coder_agent.main.id
  display_name       = "Install dependencies"
  run_on_start       = true
  start_blocks_login = true
  cron               = "0 0 22 * * *"
  script             = <<EOF
    #!/usr/bin/env bash
    cd repo
      make deps
EOF
}

resource "coder_script" "serve" {
  agent_id     = coder_agent.main.id
  display_name = "Serve"
  run_on_start = true
  log_path     = "/tmp/serve.log"
  script       = local.script
}

resource "coder_script" "nightly" {
  agent_id     = coder_agent.main.id
  display_name = "Nightly update"
  cron         = "0 0 3 * * *"
  script       = "apt-get update"
}

resource "coder_script" "archive" {
  agent_id     = coder_agent.main.id
  display_name = "Archive the logs"
  run_on_stop  = true
  script       = "#!/bin/sh\ntar -czf \"$HOME/logs.tgz\" logs\t2>&1"
}

resource "coder_script" "flush" {
  agent_id     = coder_agent.main.id
  display_name = "Flush"
  run_on_stop  = true
  script       = "#!/bin/sh\nsync"
}

data "coder_script_order" "startup" {
  rule {
    run   = ["coder_script.deps"]
    after = ["coder_script.clone"]
  }
  rule {
    run   = ["coder_script.serve"]
    after = ["coder_script.deps"]
  }
  rule {
    run      = ["coder_script.archive"]
    after    = ["coder_script.flush"]
    requires = "completion"
    phase    = "stop"
  }
}
