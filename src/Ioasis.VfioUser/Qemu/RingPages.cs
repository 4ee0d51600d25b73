using System.Buffers.Binary;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// Which pages say that something else is there: completion queues. A device writes to them last, and so must who copies what it wrote, for a driver may look at
/// them at any time without an interrupt. Addresses that a driver writes to registers are taken for such; of an NVMe controller also the queues that
/// it makes by commands (NVM Express base specification 2.0, section 5.5, "Create I/O Completion Queue").
/// </summary>
internal sealed class RingPages(bool isNvme, MirroredMemory memory)
{
    private const ulong PageMask = MirrorWindow.PageSize - 1;
    private const ulong AdminQueueAttributes = 0x24;
    private const ulong AdminSubmissionQueue = 0x28;
    private const ulong AdminDoorbell = 0x1000;
    private const int CommandBytes = 64;
    private const byte CreateCompletionQueue = 5;
    private const int CompletionBytes = 16;

    private readonly HashSet<ulong> _pages = [];
    private readonly Dictionary<ulong, uint> _words = [];
    private uint _adminTail;

    /// <summary>Whether a page is one.</summary>
    public bool IsOne(ulong address) => _pages.Contains(address & ~PageMask);

    /// <summary>Forgets all.</summary>
    public void Clear()
    {
        _pages.Clear();
        _words.Clear();
        _adminTail = 0;
    }

    /// <summary>A register is about to be written; what the driver has in memory for it is at the device's already.</summary>
    public void Note(int bar, ulong offset, int size, ulong value)
    {
        ulong place = ((ulong)bar << 56) | offset;
        if (size == sizeof(ulong))
        {
            _words[place] = (uint)value;
            _words[place + 4] = (uint)(value >> 32);
            Add(value, 1);
        }
        else if (size == sizeof(uint) && (!isNvme || offset < AdminDoorbell))
        {
            _words[place] = (uint)value;
            Add(value, 1);
            ulong low = place & ~7ul;
            Add(WordAt(low) | ((ulong)WordAt(low + 4) << 32), 1);
        }

        if (isNvme && bar == 0 && offset == AdminDoorbell)
        {
            TakeAdminCommands((uint)value);
        }
    }

    private uint WordAt(ulong place) => _words.GetValueOrDefault(place);

    private void Add(ulong address, int bytes)
    {
        for (ulong page = address & ~PageMask; page < address + (ulong)bytes; page += MirrorWindow.PageSize)
        {
            // What is no memory of the device's is something else.
            if (!memory.Look(page, 1).IsEmpty)
            {
                _ = _pages.Add(page);
            }
        }
    }

    private void TakeAdminCommands(uint tail)
    {
        ulong queue = WordAt(AdminSubmissionQueue) | ((ulong)WordAt(AdminSubmissionQueue + 4) << 32);
        uint entries = (WordAt(AdminQueueAttributes) & 0xfff) + 1;
        for (uint left = entries; _adminTail != tail % entries && left > 0; left--)
        {
            ReadOnlySpan<byte> command = memory.Look((queue & ~PageMask) + (_adminTail * CommandBytes), CommandBytes);
            if (!command.IsEmpty && command[0] == CreateCompletionQueue)
            {
                Add(BinaryPrimitives.ReadUInt64LittleEndian(command[24..]), (BinaryPrimitives.ReadUInt16LittleEndian(command[42..]) + 1) * CompletionBytes);
            }

            _adminTail = (_adminTail + 1) % entries;
        }
    }
}
