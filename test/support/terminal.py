# Runs a command on a terminal of its own, and copies what it writes there to stdout. Each line on stdin is something to do:
#   columns N    the window has another width
#   type TEXT    keys are pressed; TEXT is a JSON string
import fcntl, json, os, pty, select, struct, sys, termios

columns, command = sys.argv[1], sys.argv[2:]


def resize(fd, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(columns), 0, 0))


# The window has its width before the command looks.
ready, go = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.read(ready, 1)
    os.execvp(command[0], command)
resize(terminal, columns)
os.write(go, b'.')
inputs = [terminal, 0]
todo = b''
while terminal in inputs:
    for fd in select.select(inputs, [], [])[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:  # nobody has the terminal open any more
            data = b''
        if not data:
            inputs.remove(fd)
        elif fd == terminal:
            os.write(1, data)
        else:
            *lines, todo = (todo + data).split(b'\n')
            for line in lines:
                what, _, value = line.decode().partition(' ')
                if what == 'columns':
                    resize(terminal, value)
                else:
                    os.write(terminal, json.loads(value).encode())
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
