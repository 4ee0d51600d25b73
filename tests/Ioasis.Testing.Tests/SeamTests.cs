using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Testing.Tests;

/// <summary>Failing at step n, and the watched seams.</summary>
public sealed class SeamTests
{
    private static readonly AddressRange s_range = new(0x10000, 0x1ffff);

    [Fact]
    public void Every_step_fails_once_and_then_none_does()
    {
        List<int> failed = [];
        int steps = FailAtEveryStep.Run(
            static () => new RangePageAllocator(new PagedMemory(), s_range),
            static allocator => AllocateThree(allocator, rollBack: true),
            (allocator, result, step) =>
            {
                failed.Add(step);
                result.ShouldBe(step == 0 ? Errno.Success : Errno.OutOfMemory);
                allocator.AllocatedBytes.ShouldBe(step == 0 ? 3 * 4096 : 0);
            });
        steps.ShouldBe(3);
        failed.ShouldBe([1, 2, 3, 0]);
    }

    [Fact]
    public void An_operation_that_leaves_something_behind_is_caught()
    {
        Should.Throw<ShouldAssertException>(static () => FailAtEveryStep.Run(
            static () => new RangePageAllocator(new PagedMemory(), s_range),
            static allocator => AllocateThree(allocator, rollBack: false),
            static (allocator, result, _) => allocator.AllocatedBytes.ShouldBe(result == Errno.Success ? 3 * 4096 : 0)));
        Injection.Current.ShouldBeNull();
    }

    [Fact]
    public void From_a_step_on_everything_can_fail()
    {
        int attempts = 0;
        _ = FailAtEveryStep.Run(
            static () => new RangePageAllocator(new PagedMemory(), s_range),
            allocator =>
            {
                attempts = 0;
                for (int i = 0; i < 3; i++)
                {
                    attempts += allocator.TryAllocate(12, IPageAllocator.AnyNode, out _) ? 1 : 0;
                }

                return Errno.Success;
            },
            (_, _, step) => attempts.ShouldBe(step == 0 ? 3 : step - 1),
            andAllAfter: true);
    }

    [Fact]
    public void Watched_memory_gives_no_host_pointer_passes_a_point_for_each_access_and_records_it()
    {
        AccessRecording recording = new();
        WatchedMemory memory = new(new PagedMemory(), recording);
        memory.TryGetHostPointer(new(0), 8).ShouldBe(0);
        FailAtStep counter = new(int.MaxValue, Errno.IoError, new HashSet<InjectionKind> { InjectionKind.MemoryRead, InjectionKind.MemoryWrite });
        Injection.Current = counter;
        try
        {
            _ = memory.Write64(new(0x1000), 0x1122334455667788);
            _ = memory.Read32(new(0x1004), out uint high);
            high.ShouldBe(0x11223344u);
            _ = memory.CompareExchange64(new(0x1000), 0x1122334455667788, 5, out _);
            byte[] bytes = new byte[4];
            _ = memory.Read(new(0x1000), bytes);
            bytes.ShouldBe([5, 0, 0, 0]);
            _ = memory.Write(new(0x1ffe), new byte[] { 1, 2, 3, 4 });
            _ = memory.Read64(new(0x2000), out ulong next);
            next.ShouldBe(0x0403ul);
            _ = memory.Write32(new(0x3000), 9);
        }
        finally
        {
            Injection.Current = null;
        }

        counter.Passed.ShouldBe(7);
        recording.Events.Select(static item => (item.Kind, item.Address, item.Length, item.Value)).ShouldBe(
        [
            (InjectionKind.MemoryWrite, 0x1000ul, 8, 0x1122334455667788ul),
            (InjectionKind.MemoryRead, 0x1004ul, 4, 0x11223344ul),
            (InjectionKind.MemoryWrite, 0x1000ul, 8, 5ul),
            (InjectionKind.MemoryRead, 0x1000ul, 4, 5ul),
            (InjectionKind.MemoryWrite, 0x1ffeul, 4, 0x04030201ul),
            (InjectionKind.MemoryRead, 0x2000ul, 8, 0x0403ul),
            (InjectionKind.MemoryWrite, 0x3000ul, 4, 9ul),
        ]);
    }

    [Fact]
    public void A_point_that_fails_is_an_access_fault_and_nothing_was_written()
    {
        PagedMemory plain = new();
        WatchedMemory memory = new(plain);
        Injection.Current = new FailAtStep(1, Errno.IoError, new HashSet<InjectionKind> { InjectionKind.MemoryWrite });
        try
        {
            memory.Write64(new(0), 1).ShouldBe(MemoryStatus.AccessFault);
        }
        finally
        {
            Injection.Current = null;
        }

        _ = plain.Read64(new(0), out ulong value);
        value.ShouldBe(0ul);
    }

    [Fact]
    public void Memory_beyond_its_limit_does_not_answer()
    {
        PagedMemory memory = new(0x2000);
        memory.Write64(new(0x1ff8), 1).ShouldBe(MemoryStatus.Success);
        memory.Write64(new(0x2000), 1).ShouldBe(MemoryStatus.AccessFault);
        memory.Read(new(0x1fff), new byte[2]).ShouldBe(MemoryStatus.AccessFault);
        memory.Read(new(ulong.MaxValue), new byte[2]).ShouldBe(MemoryStatus.AccessFault);
    }

    [Fact]
    public void Watched_registers_record_alter_and_suppress()
    {
        AccessRecording recording = new();
        Registers inner = new();
        WatchedRegisters registers = new(inner, recording)
        {
            OnRead = static (offset, value) => offset == 8 ? 77 : value,
            OnWrite = static (offset, _) => offset != 16,
        };
        registers.Write32(0, 5);
        registers.Write64(16, 6);
        registers.Read32(0).ShouldBe(5u);
        registers.Read64(8).ShouldBe(77ul);
        registers.Read64(16).ShouldBe(0ul);
        recording.Events.Count.ShouldBe(5);
        recording.Events[3].ShouldBe(new(null, InjectionKind.RegisterRead, 8, 8, 77));
    }

    private static Errno AllocateThree(RangePageAllocator allocator, bool rollBack)
    {
        Stack<PhysicalAddress> got = new();
        for (int i = 0; i < 3; i++)
        {
            if (!allocator.TryAllocate(12, IPageAllocator.AnyNode, out PhysicalAddress address))
            {
                while (rollBack && got.TryPop(out PhysicalAddress back))
                {
                    allocator.Free(back, 12);
                }

                return Errno.OutOfMemory;
            }

            got.Push(address);
        }

        return Errno.Success;
    }

    private sealed class Registers : IRegisterWindow
    {
        private readonly Dictionary<uint, ulong> _values = [];

        public uint Read32(uint offset) => (uint)Read64(offset);

        public ulong Read64(uint offset) => _values.GetValueOrDefault(offset);

        public void Write32(uint offset, uint value) => _values[offset] = value;

        public void Write64(uint offset, ulong value) => _values[offset] = value;
    }
}
