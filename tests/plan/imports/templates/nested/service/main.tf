variable "agent_id" {}
variable "name" {}

resource "coder_script" "serve" {
  agent_id     = var.agent_id
  display_name = "Serve ${var.name}"
  run_on_start = true
  script       = "#!/bin/sh\nserve ${var.name}"
}
