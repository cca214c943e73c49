/* Makes the file operations of a process fail. Preloaded by faults.py, which arms it in a forked child:

     faults_arm("/folder", kind, n)   the n-th operation below /folder that this kind of fault concerns fails, or is the last
     faults_count()                   how many of them there were so far

   It replaces the functions of the C library, so that Python, PyTorch and safetensors (Rust) are all caught.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { CRASH, POWER, FULL, BROKEN, READ_ONLY, SHORT, TORN };
enum op { OPEN, WRITE, CREATE, OTHER };

static char root[PATH_MAX];
static int kind, armed;
static long nth, count;

/* Files with data that were not synced, which a power failure loses: half of those is lost here. */
static int dirty[256];
static off_t safe[256]; /* the bytes that were there before */
static int dirty_files;

void faults_arm(const char *folder, int of_kind, long n) {
  strncpy(root, folder, sizeof root - 1);
  kind = of_kind, nth = n, count = 0, dirty_files = 0, armed = 1;
}
long faults_count(void) { return count; }

static int same(int a, int b) {
  struct stat x, y;
  return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}
static off_t size_of(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 ? found.st_size : 0;
}
static void soiled(int fd, off_t before) {
  if (kind != POWER) return;
  for (int i = 0; i < dirty_files; i++)
    if (same(dirty[i], fd)) return;
  if (dirty_files == 256) _exit(97);
  safe[dirty_files] = before;
  dirty[dirty_files++] = dup(fd);
}
static void synced(int fd) {
  for (int i = 0; i < dirty_files; i++)
    if (same(dirty[i], fd)) {
      close(dirty[i]);
      dirty[i] = dirty[--dirty_files], safe[i] = safe[dirty_files], i--;
    }
}
static void die(void) {
  armed = 0;
  for (int i = 0; i < dirty_files; i++) {
    off_t size = size_of(dirty[i]);
    if (size > safe[i] && ftruncate(dirty[i], (safe[i] + size) / 2) != 0) _exit(98);
  }
  _exit(99);
}
static int below(const char *path) { return strncmp(path, root, strlen(root)) == 0; }
static int fd_below(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return below(path);
}
static int at_below(int folder, const char *path) {
  if (path[0] == '/') return below(path);
  if (folder != AT_FDCWD) return fd_below(folder);
  char here[PATH_MAX];
  return getcwd(here, sizeof here) && below(here);
}
/* 0, or the error of this operation. */
static int fault(enum op op) {
  if (kind == FULL && op == OTHER) return 0; /* a full disk still renames and deletes */
  if ((kind == SHORT || kind == TORN) && op != WRITE) return 0;
  count++;
  if (count < nth) return 0;
  switch (kind) {
    case CRASH: case POWER: if (count == nth) die(); return 0;
    case FULL: return ENOSPC;
    case BROKEN: return count == nth ? EIO : 0;
    case READ_ONLY: return EROFS;
    default: return 0;
  }
}
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define CHECK(inside, op) do { int e; if (armed && (inside) && (e = fault(op))) { errno = e; return -1; } } while (0)

#define OPENER(name, create)                                                              \
  int name(const char *path, int flags, ...) {                                            \
    REAL(int, #name, const char *, int, ...);                                             \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);   \
    if (flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC)) CHECK(at_below(AT_FDCWD, path), flags & O_CREAT ? CREATE : OPEN); \
    return real(path, flags, mode);                                                       \
  }
OPENER(open, 0)
OPENER(open64, 0)
#define OPENER_AT(name)                                                                   \
  int name(int folder, const char *path, int flags, ...) {                                \
    REAL(int, #name, int, const char *, int, ...);                                        \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);   \
    if (flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC)) CHECK(at_below(folder, path), flags & O_CREAT ? CREATE : OPEN); \
    return real(folder, path, flags, mode);                                               \
  }
OPENER_AT(openat)
OPENER_AT(openat64)

/* The number of bytes to write of n: half of them once, for a short or a torn write. */
static size_t part(size_t n) { return armed && (kind == SHORT || kind == TORN) && count == nth && n > 1 ? n / 2 : n; }

ssize_t write(int fd, const void *data, size_t n) {
  REAL(ssize_t, "write", int, const void *, size_t);
  if (!armed || !fd_below(fd)) return real(fd, data, n);
  CHECK(1, WRITE);
  off_t before = size_of(fd);
  ssize_t done = real(fd, data, part(n));
  soiled(fd, before);
  if (kind == TORN && count == nth) die();
  if (kind == SHORT && count == nth) count++; /* once */
  return done;
}
ssize_t sendfile(int out, int in, off_t *offset, size_t n) {
  REAL(ssize_t, "sendfile", int, int, off_t *, size_t);
  CHECK(fd_below(out), CREATE);
  ssize_t done = real(out, in, offset, n);
  if (armed && done > 0 && fd_below(out)) soiled(out, 0);
  return done;
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
  REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
  CHECK(fd_below(out), CREATE);
  ssize_t done = real(in, from, out, to, n, flags);
  if (armed && done > 0 && fd_below(out)) soiled(out, 0);
  return done;
}
int ftruncate(int fd, off_t size) {
  REAL(int, "ftruncate", int, off_t);
  CHECK(fd_below(fd), CREATE);
  if (armed && fd_below(fd)) soiled(fd, size_of(fd));
  return real(fd, size);
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }
#define SYNC(name)                       \
  int name(int fd) {                     \
    REAL(int, #name, int);               \
    CHECK(fd_below(fd), OTHER);          \
    int done = real(fd);                 \
    if (armed && done == 0) synced(fd);  \
    return done;                         \
  }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  CHECK(at_below(AT_FDCWD, to), OTHER);
  return real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  REAL(int, "renameat", int, const char *, int, const char *);
  CHECK(at_below(b, to), OTHER);
  return real(a, from, b, to);
}
#define ON_PATH(name, op)                      \
  int name(const char *path) {                 \
    REAL(int, #name, const char *);            \
    CHECK(at_below(AT_FDCWD, path), op);       \
    return real(path);                         \
  }
ON_PATH(unlink, OTHER)
ON_PATH(rmdir, OTHER)
#define WITH_MODE(name, op)                    \
  int name(const char *path, mode_t mode) {    \
    REAL(int, #name, const char *, mode_t);    \
    CHECK(at_below(AT_FDCWD, path), op);       \
    return real(path, mode);                   \
  }
WITH_MODE(mkdir, CREATE)
WITH_MODE(chmod, OTHER)
int unlinkat(int folder, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int);
  CHECK(at_below(folder, path), OTHER);
  return real(folder, path, flags);
}
int mkdirat(int folder, const char *path, mode_t mode) {
  REAL(int, "mkdirat", int, const char *, mode_t);
  CHECK(at_below(folder, path), CREATE);
  return real(folder, path, mode);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  REAL(int, "fchmodat", int, const char *, mode_t, int);
  CHECK(at_below(folder, path), OTHER);
  return real(folder, path, mode, flags);
}
int symlink(const char *target, const char *path) {
  REAL(int, "symlink", const char *, const char *);
  CHECK(at_below(AT_FDCWD, path), CREATE);
  return real(target, path);
}
int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *);
  CHECK(at_below(AT_FDCWD, to), CREATE);
  return real(from, to);
}
