// The same driver in Go, without modules and without cgo: a static program that makes its system calls itself. Each of four goroutines has
// a page of Go's own heap copied by the device's DMA engine, through iommufd. It knows nothing of Ioasis.   Usage: edu-go 0000:00:03.0
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// linux/vfio.h and linux/iommufd.h.
const (
	deviceGetRegionInfo = 0x3b6c
	deviceBindIommufd   = 0x3b76
	deviceAttachPt      = 0x3b77
	ioasAlloc           = 0x3b81
	ioasMap             = 0x3b85
	ioasUnmap           = 0x3b86

	page = 4096
)

type regionInfo struct {
	argsz, flags, index, capOffset uint32
	size, offset                   uint64
}

type bind struct {
	argsz, flags uint32
	iommufd      int32
	outDevid     uint32
}

type attach struct{ argsz, flags, ptID uint32 }

type alloc struct{ size, flags, outIoas uint32 }

type mapping struct {
	size, flags, ioas, reserved uint32
	userVA, length, iova        uint64
}

type unmapping struct {
	size, ioas   uint32
	iova, length uint64
}

type driver struct {
	device, iommu int
	ioas          uint32
	bar           int64
	engine        sync.Mutex
}

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

func open(address string) *driver {
	nodes, err := filepath.Glob("/sys/bus/pci/devices/" + address + "/vfio-dev/vfio*")
	if err == nil && len(nodes) == 0 {
		err = os.ErrNotExist
	}
	check(address, err)
	d := new(driver)
	d.device, err = syscall.Open("/dev/vfio/devices/"+filepath.Base(nodes[0]), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	check(nodes[0], err)
	d.iommu, err = syscall.Open("/dev/iommu", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	check("/dev/iommu", err)
	b := bind{argsz: 16, iommufd: int32(d.iommu)}
	check("bind", ioctl(d.device, deviceBindIommufd, unsafe.Pointer(&b)))
	a := alloc{size: 12}
	check("address space", ioctl(d.iommu, ioasAlloc, unsafe.Pointer(&a)))
	d.ioas = a.outIoas
	pt := attach{argsz: 12, ptID: d.ioas}
	check("attach", ioctl(d.device, deviceAttachPt, unsafe.Pointer(&pt)))

	config, registers := regionInfo{argsz: 32, index: 7}, regionInfo{argsz: 32}
	check("configuration space", ioctl(d.device, deviceGetRegionInfo, unsafe.Pointer(&config)))
	check("registers", ioctl(d.device, deviceGetRegionInfo, unsafe.Pointer(&registers)))
	d.bar = int64(registers.offset)
	_, err = syscall.Pwrite(d.device, []byte{6, 0}, int64(config.offset)+4) // memory space, bus master
	check("command register", err)
	return d
}

func (d *driver) store(at int64, value uint32) {
	_, err := syscall.Pwrite(d.device, binary.LittleEndian.AppendUint32(nil, value), d.bar+at)
	check("register", err)
}

func (d *driver) load(at int64) uint32 {
	var value [4]byte
	_, err := syscall.Pread(d.device, value[:], d.bar+at)
	check("register", err)
	return binary.LittleEndian.Uint32(value[:])
}

func (d *driver) copy(from, to uint64, count, direction uint32) {
	d.store(0x80, uint32(from))
	d.store(0x88, uint32(to))
	d.store(0x90, count)
	d.store(0x98, direction|1)
	for d.load(0x98)&1 != 0 {
		time.Sleep(10 * time.Microsecond)
	}
}

// Has a page of the heap go through the device and back.
func (d *driver) roundTrip(number int) {
	heap := make([]byte, 2*page)
	address := (uintptr(unsafe.Pointer(&heap[0])) + page - 1) &^ (page - 1)
	buffer := heap[address-uintptr(unsafe.Pointer(&heap[0])):][:page]
	text := []byte(fmt.Sprintf("goroutine %d", number))
	copy(buffer, text)
	m := mapping{size: 40, flags: 6, ioas: d.ioas, userVA: uint64(address), length: page}
	check("map", ioctl(d.iommu, ioasMap, unsafe.Pointer(&m)))

	d.engine.Lock()
	d.copy(m.iova, 0x40000, page, 0)
	for i := range buffer {
		buffer[i] = 0
	}
	d.copy(0x40000, m.iova, page, 2)
	d.engine.Unlock()
	if !bytes.HasPrefix(buffer, text) {
		check("the copy", fmt.Errorf("%q came back for %q", strings.TrimRight(string(buffer[:32]), "\x00"), text))
	}

	u := unmapping{size: 24, ioas: d.ioas, iova: m.iova, length: page}
	check("unmap", ioctl(d.iommu, ioasUnmap, unsafe.Pointer(&u)))
	runtime.KeepAlive(heap)
}

func main() {
	if len(os.Args) != 2 {
		os.Exit(2)
	}
	d := open(os.Args[1])
	var wait sync.WaitGroup
	for i := 0; i < 4; i++ {
		wait.Add(1)
		go func(number int) {
			defer wait.Done()
			for round := 0; round < 50; round++ {
				d.roundTrip(number)
			}
		}(i)
	}
	wait.Wait()
	fmt.Printf("edu %x says 200 copies came back\n", d.load(0))
}
