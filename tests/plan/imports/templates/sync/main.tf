resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

# It has a unit of its own, of the same name.
resource "coder_script" "git-clone" {
  agent_id     = coder_agent.main.id
  display_name = "Clone"
  run_on_start = true
  script       = <<-EOT
    #!/bin/bash
    UNIT_NAME="git-clone"
    trap 'coder exp sync complete "$UNIT_NAME"' EXIT
    coder exp sync start "$UNIT_NAME"
    echo clone >> order
  EOT
}

resource "coder_script" "deps" {
  agent_id     = coder_agent.main.id
  display_name = "Dependencies"
  run_on_start = true
  script       = <<-EOT
    #!/bin/bash
    trap 'coder exp sync complete pip-install' EXIT
    coder exp sync want pip-install git-clone
    coder exp sync start pip-install --timeout 1m
    echo deps >> order
  EOT
}

resource "coder_script" "ide" {
  agent_id     = coder_agent.main.id
  display_name = "IDE"
  run_on_start = true
  script       = "echo ide >> order"
}

data "coder_script_order" "order" {
  rule {
    run   = ["coder_script.ide"]
    after = ["coder_script.deps"]
  }
}
