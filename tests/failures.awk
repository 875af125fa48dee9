# Prints from the log of `cargo test` what failed, once more and shortened: of a long log only the end is kept.
#
# A failed test's output stands behind a line `---- NAME stdout ----` (libtest) or `---- NAME ----` (libtest-mimic). Within
# it, or before it where a harness captures nothing, `---- the end of the log of … ----` begins a daemon's log. Of each of
# these parts the end is shown, and of a test's own words the beginning as well, where a panic's message is.

BEGIN { head = 20; tail = 40; width = 400 }

/^---- the end of .* ----$/ { part($0); next }
/^---- .* stdout ----$/     { part("==== Failed: " $2); inside = 1; next }
/^---- [^ ]+ ----$/         { part("==== Failed: " $2); inside = 1; next }
# The list of names, the count, or the next program's tests.
/^failures:$/ || /^test result:/ || /^     Running / { part("") ; inside = 0; next }
# Of a run that was ended because a test hangs it is known which one.
/^test .* has been running for over/ { late[$2] = 1 }
/^test .* (ok|FAILED)$/              { delete late[$2] }

# Where nothing is captured other tests go on printing behind a log.
/^test / && !inside { if ($NF == "FAILED") names[++failed] = $0; part(""); next }

# Frames say little and are many.
/^[Ss]tack backtrace:$/                                      { frames = 1; next }
frames && (/^ +[0-9]+: / || /^ +at .*:[0-9]+(:[0-9]+)?$/)     { next }
                                                             { frames = 0 }

title != "" { lines[++count] = $0 }

/^test .* FAILED$/ { names[++failed] = $0 }
/^error: (test failed|could not compile|[0-9]+ targets? failed)/ || /\(signal: / { names[++failed] = $0 }

END {
    part("")
    print "\n==== Failed, all of them"
    for (i = 1; i <= failed; i++) print names[i]
    for (name in late) print "test " name " had not ended"
}

function part(next_title,    i) {
    if (title != "") {
        print "\n" title
        for (i = 1; i <= count; i++) {
            if (count <= head + tail || i > count - tail || (i <= head && title ~ /^==== /)) print substr(lines[i], 1, width)
            else if (i == count - tail) print "(…)"
        }
    }
    title = next_title
    count = 0
}
