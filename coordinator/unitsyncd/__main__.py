import sys

from unitsyncd.daemon import main

sys.exit(main())
