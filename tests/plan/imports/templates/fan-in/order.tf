# Several blocks are one graph; a text stands for a list of one.
data "coder_script_order" "ide" {
  rule {
    run   = "coder_script.ide"
    after = ["coder_script.tool", "coder_script.shard[1]", "coder_script.gpu"]
  }
}

data "coder_script_order" "more" {
  rule {
    run      = ["coder_script.ide"]
    after    = ["coder_script.mirror[\"eu.example.org\"]"]
    requires = "completion"
  }

  dynamic "rule" {
    for_each = ["node", "python"]
    content {
      run   = ["coder_script.shard"]
      after = ["coder_script.tool[\"${rule.value}\"]"]
    }
  }
}
