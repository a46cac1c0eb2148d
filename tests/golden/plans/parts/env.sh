#!/usr/bin/env -S surely-no-program -x
