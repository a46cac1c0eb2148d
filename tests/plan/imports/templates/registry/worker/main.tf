variable "agent_id" {}

resource "coder_script" "work" {
  agent_id     = var.agent_id
  display_name = "Work"
  run_on_start = true
  script       = "#!/bin/sh\nwork"
}
