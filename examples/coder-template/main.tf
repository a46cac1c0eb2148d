# A template in the usual shape: one agent, its scripts, a module, and the order of them all.
# The infrastructure that the agent runs on is left out here; unitsync does not need it.

terraform {
  required_providers {
    coder = {
      source  = "coder/coder"
      version = ">= 2.20.0"
    }
  }
}

data "coder_workspace" "me" {}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

locals {
  checks = toset(["lint", "types"])
}

module "tools" {
  count    = data.coder_workspace.me.start_count
  source   = "./tools"
  agent_id = coder_agent.main.id
  packages = ["jq", "curl"]
}

resource "coder_script" "project" {
  agent_id           = coder_agent.main.id
  display_name       = "Get the project"
  run_on_start       = true
  start_blocks_login = true
  timeout            = 300
  script             = <<-EOT
    #!/bin/sh
    set -e
    mkdir -p "$${PROJECT:-project}"
    cd "$${PROJECT:-project}"
    echo 'print("hello")' > hello.py
  EOT
}

resource "coder_script" "check" {
  for_each     = local.checks
  agent_id     = coder_agent.main.id
  display_name = "Check: ${each.key}"
  run_on_start = true
  script       = <<-EOT
    #!/bin/sh
    echo "${each.key}: fine" >> checks.log
  EOT
}

resource "coder_script" "serve" {
  agent_id     = coder_agent.main.id
  display_name = "Run it"
  run_on_start = true
  script       = "#!/bin/sh\ncd project\nexec python3 hello.py"
}

resource "coder_script" "archive" {
  agent_id     = coder_agent.main.id
  display_name = "Keep the results"
  run_on_stop  = true
  script       = "#!/bin/sh\ntar -czf checks.tgz checks.log"
}

data "coder_script_order" "startup" {
  rule {
    run   = ["coder_script.check", "coder_script.serve"]
    after = ["coder_script.project", "module.tools"]
  }

  # Serve whatever the checks say.
  rule {
    run      = ["coder_script.serve"]
    after    = ["coder_script.check"]
    requires = "completion"
  }
}
