variable "agent_id" {
  type = string
}

variable "packages" {
  type = list(string)
}

resource "coder_script" "install" {
  agent_id     = var.agent_id
  display_name = "Install tools"
  run_on_start = true
  script       = <<-EOT
    #!/bin/sh
    for each in ${join(" ", var.packages)}; do
      echo "would install $each"
    done
  EOT
}
