using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <summary>
/// A queue that the hardware fills and the driver reads: what the fault queue (section 3.2) and the page-request queue
/// (section 3.3) have in common. Records are read in order; a queue that stopped is emptied, then started again.
/// </summary>
internal abstract class RecordQueue
{
    private const uint ErrorBits = QueueCsr.MemoryFaultBit | QueueCsr.OverflowBit;

    // A flood can refill the queue while it is drained: after so many rounds the rest waits for the interrupt that it raised.
    private const int RoundsPerInterrupt = 64;

    private readonly IPhysicalMemory _memory;
    private readonly IPageAllocator _pages;
    private readonly Layout _layout;
    private readonly IoLock _lock = new();
    private PhysicalAddress _base;
    private int _bytesLog2;
    private uint _mask;
    private uint _head;
    private bool _closed;
    private long _records;
    private long _overflows;

    protected RecordQueue(HardwareAccess hardware, IPhysicalMemory memory, IPageAllocator pages, RiscVDriverOptions options, Layout layout)
    {
        Hardware = hardware;
        Options = options;
        _memory = memory;
        _pages = pages;
        _layout = layout;
    }

    /// <summary>Records read.</summary>
    public long Records => Volatile.Read(ref _records);

    /// <summary>Times that records were lost.</summary>
    public long Overflows => Volatile.Read(ref _overflows);

    protected HardwareAccess Hardware { get; }

    protected RiscVDriverOptions Options { get; }

    /// <summary>
    /// Reads what is there and, if the queue had stopped, starts it again; never waits. Then has done what needs no lock. A call
    /// out of a call (an interrupt that a register write of this very method raised) leaves the work to the outer one, which
    /// looks again after each write.
    /// </summary>
    public void Drain()
    {
        if (_lock.IsHeld)
        {
            return;
        }

        using (_lock.Acquire())
        {
            for (int round = 0; round < RoundsPerInterrupt && !_closed; round++)
            {
                // A queue that stopped is empty before long: there is time enough to look for that then.
                if (ReadRecords())
                {
                    continue;
                }

                uint csr = Hardware.Registers.Read32(_layout.Csr);
                if ((csr & ErrorBits) == 0)
                {
                    break;
                }

                _ = Interlocked.Increment(ref _overflows);
                OnStopped(csr);

                // The queue is empty now, so that what comes next has room. Only the bits seen are cleared.
                Hardware.Registers.Write32(_layout.Csr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | (csr & ErrorBits));
            }
        }

        OnDrained();
    }

    /// <summary>Turns the queue off and frees it, if the hardware lets go of it.</summary>
    public void Close()
    {
        using (_lock.Acquire())
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            Hardware.Registers.Write32(_layout.Csr, 0);
            if (Hardware.WaitFor32(_layout.Csr, QueueCsr.OnBit | QueueCsr.BusyBit, 0, out _))
            {
                _pages.Free(_base, _bytesLog2);
            }
        }
    }

    /// <summary>Sets the queue up, once; it must be off.</summary>
    /// <returns>Success; else the queue is off, and nothing of it is left.</returns>
    protected Errno TurnOn(int sizeLog2)
    {
        Errno error = Hardware.TryAllocateQueue(_pages, _layout.Base, _layout.RecordSize, 1, ref sizeLog2, out _base, out _bytesLog2);
        if (error != Errno.Success)
        {
            return error;
        }

        _mask = (1u << sizeLog2) - 1;
        Hardware.Registers.Write32(_layout.Head, 0);
        Hardware.Registers.Write32(_layout.Csr, QueueCsr.EnableBit | QueueCsr.InterruptEnableBit | ErrorBits);
        if (Hardware.WaitFor32(_layout.Csr, QueueCsr.OnBit | QueueCsr.BusyBit, QueueCsr.OnBit, out _))
        {
            return Errno.Success;
        }

        Close();
        return Errno.IoError;
    }

    /// <summary>Reads a doubleword of a record.</summary>
    protected bool TryRead(PhysicalAddress record, ulong offset, out ulong value) =>
        _memory.Read64(record + offset, out value) == MemoryStatus.Success;

    /// <summary>A record is there. Under the queue's lock.</summary>
    protected abstract void OnRecord(PhysicalAddress record);

    /// <summary>Records were lost, and those before them are read; the queue is started again next. Under the queue's lock.</summary>
    /// <param name="csr">The queue's control and status register, with what stopped it.</param>
    protected abstract void OnStopped(uint csr);

    /// <summary>The queue was read. Under no lock.</summary>
    protected abstract void OnDrained();

    private bool ReadRecords()
    {
        uint tail = Hardware.Registers.Read32(_layout.Tail) & _mask;
        if (tail == _head)
        {
            return false;
        }

        while (_head != tail)
        {
            OnRecord(_base + ((ulong)_head * (ulong)_layout.RecordSize));
            _records++;
            _head = (_head + 1) & _mask;
        }

        Hardware.Registers.Write32(_layout.Head, _head);
        return true;
    }

    /// <summary>Offsets of a queue's registers, and the bytes of a record.</summary>
    protected readonly record struct Layout(uint Base, uint Head, uint Tail, uint Csr, int RecordSize);
}
