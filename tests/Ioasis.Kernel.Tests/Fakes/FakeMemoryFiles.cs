using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Kernel.Tests;

/// <summary>Files in the upper half of a fake client's memory, each at a place of its own.</summary>
internal sealed class FakeMemoryFiles(FakeUserMemory memory) : IMemoryFileSource
{
    private readonly Dictionary<ulong, ulong> _live = [];
    private ulong _next = FakeUserMemory.Start + (memory.Size / 2);

    /// <summary>Whether nothing may be pinned there when a file goes; not if its addresses are also mapped as a process's.</summary>
    public bool AreAlone { get; set; } = true;

    public int Live => _live.Count;

    public IUserMemory Memory => memory;

    public Errno Allocate(ulong length, out ulong address)
    {
        address = 0;
        ulong rounded = (length + 4095) & ~4095ul;
        lock (_live)
        {
            if (rounded > FakeUserMemory.Start + memory.Size - _next)
            {
                return Errno.OutOfMemory;
            }

            address = _next;
            _next += rounded;
            _live.Add(address, length);
            return Errno.Success;
        }
    }

    public void Free(ulong address, ulong length)
    {
        lock (_live)
        {
            _live.Remove(address, out ulong allocated).ShouldBeTrue();
            allocated.ShouldBe(length);
            (AreAlone && memory.PinsOf(address) > 0).ShouldBeFalse();
        }
    }
}
