using Ioasis.Core;
using Ioasis.PageTables;
using Ioasis.PageTables.Formats;
using Ioasis.Primitives;

namespace Ioasis.Processes.Tests;

/// <summary>Processes and their threads. What they have to do with PASIDs and devices is in Ioasis.Sva.Tests.</summary>
public sealed class UserProcessTests : IDisposable
{
    private readonly ProcessMemory _memory = new(PageTableFormat.Of<Sv48>());

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void A_child_has_one_thread_and_memory_of_its_own()
    {
        UserProcess parent = new("parent", _memory.NewProcess());
        _ = parent.StartThread();
        parent.AddressSpace.Write(ProcessMemory.Base, [1]).ShouldBe(Errno.Success);
        parent.TryFork("child", out UserProcess? child).ShouldBe(Errno.Success);
        (child!.Name, child.MainThread.Process).ShouldBe(("child", child));
        parent.Exit().ShouldBe(Errno.Success);
        ProcessMemory.Get(child.AddressSpace, ProcessMemory.Base, 1).ShouldBe([1]);
        parent.TryFork("late", out UserProcess? late).ShouldBe(Errno.NoEntry);
        late.ShouldBeNull();
        child.Exit().ShouldBe(Errno.Success);
        _memory.Pages.AllocatedBytes.ShouldBe(0);
    }

    [Fact]
    public void Another_program_starts_with_an_empty_register_and_ends_the_memory_of_the_first()
    {
        UserProcess process = new("process", _memory.NewProcess());
        process.AddressSpace.Write(ProcessMemory.Base, [1]).ShouldBe(Errno.Success);
        process.MainThread.Register = PasidRegister.For(new(7));
        DemandPagedAddressSpace program = _memory.NewProcess();
        process.Execute(program).ShouldBe(Errno.Success);
        process.AddressSpace.ShouldBeSameAs(program);
        process.MainThread.Register.IsValid.ShouldBeFalse();
        _memory.Frames.Count.ShouldBe(0);
        process.Exit().ShouldBe(Errno.Success);
        _memory.Pages.AllocatedBytes.ShouldBe(0);
    }
}
