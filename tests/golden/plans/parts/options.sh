#!/usr/bin/env -S SURELY=1 sh
