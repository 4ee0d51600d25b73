using System.Runtime.CompilerServices;
using Ioasis.Embedded;
using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Client.Tests;

/// <summary>Managed memory and buffers that devices reach, and that nothing else moves into while they do.</summary>
public class MemoryTests
{
    /// <summary>The IOMMU of the machine; another IOMMU's suite overrides it.</summary>
    private protected virtual IommuSlot Slot => new RiscVIommuSlot();

    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    [InlineData(4096)]
    [InlineData(10_000)]
    public void A_device_reads_and_writes_managed_memory_where_the_mapping_says(int elements)
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        uint[] array = new uint[elements + 7];
        Memory<uint> memory = array.AsMemory(7);
        using (DmaMapping mapping = machine.Space.Map(memory, Access.ReadWrite))
        {
            mapping.Length.ShouldBe((ulong)elements * 4);
            (mapping.Mapped.Start % 4096).ShouldBe(0ul);
            GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
            byte[] sent = new byte[elements * 4];
            new Random(elements).NextBytes(sent);
            machine.Endpoint.Write(mapping.Iova, sent).ShouldBe(DmaStatus.Success);
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(memory.Span).ToArray().ShouldBe(sent);
            byte[] read = new byte[sent.Length];
            machine.Endpoint.Read(mapping.Iova, read).ShouldBe(DmaStatus.Success);
            read.ShouldBe(sent);
        }

        array[..7].ShouldAllBe(static value => value == 0);
        machine.Platform.Audit.PinnedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_chosen_IOVA_must_have_the_offset_of_the_memory_in_its_page()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        byte[] array = GC.AllocateUninitializedArray<byte>(3 * 4096, pinned: true);
        ulong address = AddressOf(array);
        Iova fit = new(0x4000_0000 + (address % 4096));
        Iova misfit = new(fit.Value ^ 8);
        machine.Space.MapErrno(array.AsMemory(), Access.Read, misfit, out DmaMapping? none).ShouldBe(Errno.InvalidArgument);
        none.ShouldBeNull();
        using DmaMapping mapping = machine.Space.Map(array.AsMemory(), Access.Read, fit);
        mapping.Iova.ShouldBe(fit);
        machine.Space.MapErrno(array.AsMemory(), Access.Read, fit, out _).ShouldBe(Errno.Exists);
    }

    [Fact]
    public void Empty_memory_is_refused_before_the_kernel_is_asked()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        machine.Space.MapErrno(Memory<byte>.Empty, Access.Read, null, out _).ShouldBe(Errno.InvalidArgument);
        IommuException refusal = Should.Throw<IommuException>(() => machine.Space.Map(Memory<byte>.Empty, Access.Read));
        refusal.Error.ShouldBe(Errno.InvalidArgument);
        refusal.Call.ShouldBe("IOMMU_IOAS_MAP");
        refusal.Values.ShouldContain("0 × 1 bytes");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.15")]
    public void After_a_mapping_is_disposed_no_device_reaches_the_memory_even_if_invalidation_is_lazy(bool lazy)
    {
        using Machine machine = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile });
        if (lazy)
        {
            machine.Space.SetLazyInvalidation(true);
        }

        byte[] array = new byte[8192];
        DmaMapping mapping = machine.Space.Map(array.AsMemory(), Access.ReadWrite);
        machine.Endpoint.Write(mapping.Iova, [1, 2, 3]).ShouldBe(DmaStatus.Success);
        mapping.Dispose();
        mapping.Dispose();
        machine.Endpoint.Write(mapping.Iova, [9, 9, 9]).ShouldNotBe(DmaStatus.Success);
        array[..3].ShouldBe([1, 2, 3]);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Trait("Requirement", "S1.15")]
    public void A_buffer_is_zero_at_first_reached_while_it_lives_and_never_after(bool lazy)
    {
        using Machine machine = new(new() { Iommus = [Slot], Caching = CachingMode.Hostile });
        if (lazy)
        {
            machine.Space.SetLazyInvalidation(true);
        }

        Iova iova;
        using (DmaBuffer buffer = machine.Space.AllocateBuffer(5000))
        {
            iova = buffer.Iova;
            buffer.Length.ShouldBe((nuint)8192);
            buffer.Span.ContainsAnyExcept((byte)0).ShouldBeFalse();
            machine.Endpoint.Write(iova + 8000, "there"u8).ShouldBe(DmaStatus.Success);
            buffer.Span.Slice(8000, 5).SequenceEqual("there"u8).ShouldBeTrue();
            buffer.As<ulong>(8, 2)[1] = 0x1122_3344_5566_7788;
            byte[] read = new byte[8];
            machine.Endpoint.Read(iova + 16, read).ShouldBe(DmaStatus.Success);
            read.ShouldBe(BitConverter.GetBytes(0x1122_3344_5566_7788));
        }

        machine.Endpoint.Write(iova, [1]).ShouldNotBe(DmaStatus.Success);
        machine.Platform.Audit.PinnedBytes.ShouldBe(0);
    }

    [Fact]
    public void A_buffer_at_a_chosen_IOVA_is_there_and_a_second_one_is_refused_without_a_leak()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        using DmaBuffer buffer = machine.Space.AllocateBuffer(4096, Access.Read, new Iova(0x7000_0000));
        buffer.Iova.ShouldBe(new Iova(0x7000_0000));
        machine.Space.AllocateBufferErrno(4096, Access.Read, buffer.Iova, out DmaBuffer? second).ShouldBe(Errno.Exists);
        second.ShouldBeNull();
        machine.Space.AllocateBufferErrno(0, Access.Read, null, out _).ShouldBe(Errno.InvalidArgument);
        machine.Endpoint.Write(buffer.Iova, [1]).ShouldNotBe(DmaStatus.Success);
        machine.Platform.Audit.Areas.ShouldBe(1);
    }

    [Fact]
    public void Parts_of_a_buffer_stay_within_it()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        using DmaBuffer buffer = machine.Space.AllocateBuffer(4096);
        buffer.As<ulong>(0, 512).Length.ShouldBe(512);
        Should.Throw<ArgumentOutOfRangeException>(() => buffer.As<ulong>(8, 512).Length);
        Should.Throw<ArgumentOutOfRangeException>(() => buffer.As<byte>(4097, 0).Length);
        Should.Throw<ArgumentOutOfRangeException>(() => buffer.As<byte>(0, -1).Length);
        buffer.Dispose();
        Should.Throw<ObjectDisposedException>(() => buffer.Span.Length);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_buffer_that_is_forgotten_is_unmapped_by_the_garbage_collector()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        Forget(machine);
        for (int turn = 0; turn < 50 && machine.Platform.Audit.Areas != 0; turn++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        machine.Platform.Audit.Areas.ShouldBe(0);
        machine.Platform.Audit.PinnedBytes.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_buffer_keeps_the_descriptor_until_it_is_disposed()
    {
        using Machine machine = new(new() { Iommus = [Slot] });
        IommuFd other = IommuFd.Open(machine.Platform.Kernel);
        IoAddressSpace space = other.AllocateAddressSpace();
        DmaBuffer buffer = space.AllocateBuffer(4096);
        space.Dispose();
        other.Dispose();
        machine.Platform.Audit.AddressSpaces.ShouldBe(1);
        buffer.Dispose();
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_whole_machine_that_is_forgotten_with_all_that_is_open_in_it_goes_without_harm()
    {
        List<object> faults = [];
        void Note(object sender, UnhandledExceptionEventArgs e) => faults.Add(e.ExceptionObject);
        AppDomain.CurrentDomain.UnhandledException += Note;
        try
        {
            List<WeakReference> platforms = [];
            for (int i = 0; i < 8; i++)
            {
                platforms.Add(ForgetAll());
            }

            for (int turn = 0; turn < 50 && platforms.Exists(static platform => platform.IsAlive); turn++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }

            faults.ShouldBeEmpty();
            platforms.ShouldAllBe(static platform => !platform.IsAlive);
        }
        finally
        {
            AppDomain.CurrentDomain.UnhandledException -= Note;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static WeakReference ForgetAll()
    {
#pragma warning disable CA2000 // That nobody disposes them is what is tested.
        Machine machine = new();
        DmaBuffer buffer = machine.Space.AllocateBuffer(4096);
#pragma warning restore CA2000
        machine.Endpoint.Write(buffer.Iova, [1]).ShouldBe(DmaStatus.Success);
        return new(machine.Platform.Kernel);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Forget(Machine machine)
    {
        _ = machine.Space.AllocateBuffer(4096);
        machine.Platform.Audit.Areas.ShouldBe(1);
    }

    private static unsafe ulong AddressOf(byte[] pinned)
    {
        fixed (byte* pointer = pinned)
        {
            return (ulong)pointer;
        }
    }
}
