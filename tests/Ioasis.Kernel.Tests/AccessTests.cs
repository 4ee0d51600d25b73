using System.Buffers.Binary;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>Parts of the kernel that reach what an address space maps without DMA: they copy, or pin pages until these are unmapped.</summary>
public sealed class AccessTests
{
    private const ulong Page = 4096;
    private const ulong Iova = 0x10_0000;

    private static ulong Address(ulong page) => FakeUserMemory.Start + (page * Page);

    [Fact]
    public void Pinned_pages_are_those_of_the_mapping_and_stay_until_they_are_unpinned()
    {
        using World world = new();
        User user = world.NewUser();
        world.Map(4, 3, Iova);
        world.Map(20, 2, Iova + (3 * Page));
        PhysicalAddress[] pages = new PhysicalAddress[4];
        user.Way.PinPages(Iova + Page, 4 * Page, writes: true, pages).ShouldBe(Errno.Success);
        pages.Select(static page => page.Value).ShouldBe(
            ((ulong[])[5, 6, 20, 21]).Select(page => world.Rig.Memory.ToPhysical(Address(page))));

        // What is pinned twice is pinned until both are undone.
        user.Way.PinPages(Iova + Page, 1, writes: false, pages).ShouldBe(Errno.Success);
        user.Way.UnpinPages(Iova + Page, 4 * Page);
        world.Rig.Memory.PinsOf(Address(5)).ShouldBe(1);
        world.Rig.Memory.PinsOf(Address(20)).ShouldBe(0);
        user.Way.UnpinPages(Iova + Page, 1);
        world.Rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void An_unmap_tells_who_has_pages_pinned_and_returns_when_they_are_not()
    {
        using World world = new();
        User user = world.NewUser();
        User other = world.NewUser();
        world.Map(0, 1, Iova);
        world.Map(1, 2, Iova + Page);
        world.Map(9, 1, Iova + (8 * Page));
        user.Pin(Iova, 2 * Page).ShouldBe(Errno.Success);
        user.Pin(Iova + (8 * Page), Page).ShouldBe(Errno.Success);
        world.Unmap(Iova, 4 * Page).ShouldBe(0);
        user.Pinned.ShouldHaveSingleItem();
        other.Told.ShouldBeGreaterThan(0);
        world.Rig.Memory.PinnedPages.ShouldBe(1);
        world.Unmap(0, ulong.MaxValue).ShouldBe(0);
        user.Pinned.ShouldBeEmpty();
        world.Rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void An_unmap_gives_up_on_a_user_that_does_not_unpin_and_nobody_pins_those_pages_any_more()
    {
        using World world = new();
        User user = world.NewUser();
        world.Map(0, 1, Iova);
        PhysicalAddress[] pages = new PhysicalAddress[1];
        user.Way.PinPages(Iova, Page, writes: false, pages).ShouldBe(Errno.Success);
        world.Unmap(Iova, Page).ShouldBe(-(int)Errno.Deadlock);
        user.Way.PinPages(Iova, Page, writes: false, pages).ShouldBe(Errno.InvalidArgument);
        user.Way.UnpinPages(Iova, Page);
        world.Unmap(Iova, Page).ShouldBe(0);
    }

    [Fact]
    public void Every_wrong_range_has_its_error_and_pins_nothing()
    {
        using World world = new(new() { Size = 64 * Page });
        User user = world.NewUser();
        User copier = world.NewUser(pins: false);
        world.Map(0, 2, Iova, IoasMapFlags.Readable);
        world.Map(2, 2, Iova + (2 * Page));
        world.Map(100, 1, Iova + (4 * Page));
        PhysicalAddress[] pages = new PhysicalAddress[8];
        Errno Pin(ulong iova, ulong length, bool writes = false) => user.Way.PinPages(iova, length, writes, pages);

        Pin(Iova, 0).ShouldBe(Errno.InvalidArgument);
        Pin(Iova, 9 * Page).ShouldBe(Errno.InvalidArgument);
        Pin(ulong.MaxValue - Page + 2, Page).ShouldBe(Errno.Overflow);
        Pin(Iova - Page, 2 * Page).ShouldBe(Errno.NoEntry);
        Pin(Iova + (5 * Page), Page).ShouldBe(Errno.NoEntry);
        Pin(Iova + (2 * Page), 3 * Page, writes: true).ShouldBe(Errno.BadAddress);
        Pin(Iova, 3 * Page, writes: true).ShouldBe(Errno.NotPermitted);
        Pin(Iova + 8, Page).ShouldBe(Errno.InvalidArgument);
        copier.Way.PinPages(Iova, Page, writes: false, pages).ShouldBe(Errno.InvalidArgument);
        world.Rig.Memory.PinnedPages.ShouldBe(0);
        copier.Way.Read(Iova, []).ShouldBe(Errno.InvalidArgument);
        copier.Way.Read(ulong.MaxValue, new byte[2]).ShouldBe(Errno.Overflow);
        copier.Way.Write(Iova, [1]).ShouldBe(Errno.NotPermitted);
    }

    [Fact]
    public void A_copy_goes_over_mappings_and_needs_no_pins_and_no_alignment()
    {
        using World world = new();
        world.MapAt(FakeUserMemory.ArgumentStart, Page, Iova + 0x10);
        world.MapAt(FakeUserMemory.ArgumentStart + (3 * Page), Page, Iova + 0x10 + Page);
        User user = world.NewUser(pins: false);
        byte[] bytes = [.. Enumerable.Range(1, 16).Select(static i => (byte)i)];
        user.Way.Write(Iova + 0x10 + Page - 8, bytes).ShouldBe(Errno.Success);
        world.Rig.Memory.Arguments[(int)Page - 1].ShouldBe((byte)8);
        world.Rig.Memory.Arguments[3 * (int)Page].ShouldBe((byte)9);
        byte[] read = new byte[16];
        user.Way.Read(Iova + 0x10 + Page - 8, read).ShouldBe(Errno.Success);
        read.ShouldBe(bytes);
        user.Way.Read(Iova + 0x10 + (2 * Page) - 8, read).ShouldBe(Errno.NoEntry);
        world.Rig.Memory.PinnedPages.ShouldBe(0);

        // Who pins needs whole pages.
        world.Context.CreateAccess(world.Space, world.NewUser(), out _).ShouldBe(Errno.AddressInUse);
    }

    [Fact]
    public void A_domain_comes_and_goes_while_pages_are_pinned_and_the_limit_counts_them_once()
    {
        using World world = new();
        User user = world.NewUser();
        world.Map(0, 2, Iova);
        user.Pin(Iova, Page).ShouldBe(Errno.Success);
        long pinned = world.Rig.KernelSide.Audit.PinnedBytes;
        (_, string path) = world.Rig.AddDevice();
        int device = world.Rig.Kernel.Open(path, OpenFlags.ReadWrite);
        VfioTests.Bind(world.Rig, device, world.Fd);
        VfioTests.Attach(world.Rig, device, world.Space).Result.ShouldBe(0);
        world.Rig.KernelSide.Audit.PinnedBytes.ShouldBe(pinned);
        world.Rig.Kernel.Close(device).ShouldBe(0);
        world.Rig.Memory.PinsOf(Address(0)).ShouldBe(1);
        user.Unpin(Iova);
        world.Rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void Another_address_space_takes_the_place_of_the_first_and_its_pins_go()
    {
        using World world = new();
        User user = world.NewUser();
        world.Map(0, 1, Iova);
        user.Pin(Iova, Page).ShouldBe(Errno.Success);
        uint other = world.Rig.AllocateSpace(world.Fd);
        world.Destroy(world.Space).ShouldBe(-(int)Errno.Busy);
        user.Way.Replace(99).ShouldBe(Errno.NoEntry);
        user.Pinned.ShouldHaveSingleItem();
        user.Way.Replace(other).ShouldBe(Errno.Success);
        user.Pinned.ShouldBeEmpty();
        world.Rig.Memory.PinnedPages.ShouldBe(0);
        world.Destroy(world.Space).ShouldBe(0);
        user.Pin(Iova, Page).ShouldBe(Errno.NoEntry);
        world.Destroy(user.Way.Id).ShouldBe(-(int)Errno.Busy);
        user.Way.Dispose();
        world.Destroy(other).ShouldBe(0);
    }

    [Fact]
    [Trait("Requirement", "S1.15")]
    public void A_way_keeps_its_descriptor_and_what_is_pinned_until_it_is_disposed()
    {
        World world = new();
        User user = world.NewUser();
        world.Map(0, 1, Iova);
        user.Pin(Iova, Page).ShouldBe(Errno.Success);
        world.Rig.Kernel.Close(world.Fd).ShouldBe(0);
        world.Rig.Memory.PinnedPages.ShouldBe(1);
        user.Way.Dispose();
        user.Pinned.ShouldBeEmpty();
        world.Rig.ShouldBeClean();
    }

    [Fact]
    public void Files_of_an_extension_are_released_with_their_last_descriptor_and_found_by_those_that_they_are()
    {
        using World world = new();
        User user = world.NewUser();
        world.Context.AddFile(new Held(user), out int descriptor).ShouldBe(Errno.Success);
        world.Context.UseFile<Held>(descriptor, held => held.User == user ? Errno.Success : Errno.IoError).ShouldBe(Errno.Success);
        world.Context.UseFile<Held>(world.Fd, static _ => Errno.Success).ShouldBe(Errno.BadDescriptor);
        world.Context.UseFile<Held>(77, static _ => Errno.Success).ShouldBe(Errno.BadDescriptor);
        int copy = world.Rig.Kernel.Dup(descriptor);
        world.Rig.Kernel.Close(descriptor).ShouldBe(0);
        user.Ended.ShouldBe(0);
        world.Rig.Kernel.Close(copy).ShouldBe(0);
        user.Ended.ShouldBe(1);
    }

    [Fact]
    public void Memory_that_an_extension_makes_available_is_mapped_until_it_is_taken_back()
    {
        using World world = new();
        world.Context.ExportMemory(new(0x5000_0000), 4 * Page, out int descriptor).ShouldBe(Errno.Success);
        int Map(ulong start, ulong length, out ulong iova)
        {
            IommuIoasMapFile argument = new()
            {
                Flags = IoasMapFlags.Readable | IoasMapFlags.Writable, IoasId = world.Space, Fd = descriptor, Start = start, Length = length,
            };
            int result = world.Rig.Call(world.Fd, ref argument);
            iova = argument.Iova;
            return result;
        }

        Map(0, 4 * Page, out ulong first).ShouldBe(0);
        (first % (4 * Page)).ShouldBe(0ul);
        User user = world.NewUser();
        user.Way.PinPages(first, Page, writes: false, new PhysicalAddress[1]).ShouldBe(Errno.InvalidArgument);
        world.Context.SetRevoked(descriptor, true).ShouldBe(Errno.Success);
        Map(0, Page, out _).ShouldBe(-(int)Errno.NoDevice);
        world.Context.SetRevoked(descriptor, false).ShouldBe(Errno.Success);
        Map(Page, Page, out _).ShouldBe(0);
        world.Context.SetRevoked(world.Fd, true).ShouldBe(Errno.InvalidArgument);
        world.Context.SetRevoked(99, true).ShouldBe(Errno.BadDescriptor);
    }

    [Fact]
    public async Task Pins_of_several_threads_against_unmaps_and_replacements_leave_nothing()
    {
        using World world = new();
        uint other = world.Rig.AllocateSpace(world.Fd);
        User[] users = [.. Enumerable.Range(0, 3).Select(_ => world.NewUser())];
        int left = users.Length;
        Task[] pinning = [.. users.Select((user, index) => Task.Run(() =>
        {
            Random random = new(index);
            for (int i = 0; i < 2_000; i++)
            {
                ulong iova = Iova + ((ulong)random.Next(4) * Page);
                if (i % 100 == 50)
                {
                    _ = user.Way.Replace(i % 200 == 50 ? other : world.Space);
                }
                else if (user.Pin(iova, Page) == Errno.Success && random.Next(2) == 0)
                {
                    user.Unpin(iova);
                }
            }

            Interlocked.Decrement(ref left);
        }, TestContext.Current.CancellationToken))];
        Task mapping = Task.Run(() =>
        {
            while (Volatile.Read(ref left) > 0)
            {
                foreach (uint space in (uint[])[world.Space, other])
                {
                    world.Rig.MapFixed(world.Fd, space, Address(0), 4 * Page, Iova).ShouldBe(0);
                    world.Rig.Unmap(world.Fd, space, Iova, 4 * Page, out _).ShouldBe(0);
                }
            }
        }, TestContext.Current.CancellationToken);
        await Task.WhenAll([.. pinning, mapping]);
        users.ShouldAllBe(static user => user.Pinned.Count == 0);
        world.Rig.Memory.PinnedPages.ShouldBe(0);
    }

    [Fact]
    public void Each_step_of_making_a_way_and_of_pinning_fails_once_and_leaves_nothing()
    {
        for (int step = 1; ; step++)
        {
            World world = new();
            world.Map(0, 2, Iova);
            Ioasis.Testing.FailAtStep injector = new(step, Errno.OutOfMemory);
            User user = new();
            Ioasis.Platform.Injection.Current = injector;
            Errno error;
            try
            {
                error = world.Context.CreateAccess(world.Space, user, out IommufdAccess? way);
                user.Way = way!;
                error = error == Errno.Success ? user.Pin(Iova, 2 * Page) : error;
            }
            finally
            {
                Ioasis.Platform.Injection.Current = null;
            }

            user.Way?.Dispose();
            world.Dispose();
            if (injector.Passed < step)
            {
                error.ShouldBe(Errno.Success);
                step.ShouldBeGreaterThan(3);
                return;
            }

            error.ShouldBe(Errno.OutOfMemory, $"step {step}");
        }
    }

    // A descriptor as an extension sees it, and one address space.
    private sealed class World : IDisposable
    {
        private readonly Seen _seen = new();

        public World(FakeUserMemory? memory = null)
        {
            Rig = new(memory, extension: _seen);
            Fd = Rig.OpenIommu();
            Rig.Kernel.Ioctl(Fd, Seen.Request, [0, 0, 0, 0]).ShouldBe(77);
            Space = Rig.AllocateSpace(Fd);
        }

        public Rig Rig { get; }

        public int Fd { get; }

        public uint Space { get; }

        public IommufdContext Context => _seen.Context!;

        private List<User> Users { get; } = [];

        public User NewUser(bool pins = true)
        {
            User user = new();
            if (Context.CreateAccess(Space, pins ? user : null, out IommufdAccess? way) == Errno.Success)
            {
                user.Way = way!;
                Users.Add(user);
            }

            return user;
        }

        public void Map(ulong page, ulong count, ulong iova, IoasMapFlags access = IoasMapFlags.Readable | IoasMapFlags.Writable) =>
            Rig.MapFixed(Fd, Space, Address(page), count * Page, iova, access).ShouldBe(0);

        public void MapAt(ulong memory, ulong length, ulong iova) => Rig.MapFixed(Fd, Space, memory, length, iova).ShouldBe(0);

        public int Unmap(ulong iova, ulong length) => Rig.Unmap(Fd, Space, iova, length, out _);

        public int Destroy(uint id)
        {
            IommuDestroy argument = new() { Id = id };
            return Rig.Call(Fd, ref argument);
        }

        public void Dispose()
        {
            Users.ForEach(static user => user.Way.Dispose());
            Rig.Kernel.CloseAll();
            Rig.ShouldBeClean();
        }
    }

    private sealed class Seen : IommufdExtension
    {
        public const uint Request = 0x3bff;

        public IommufdContext? Context { get; private set; }

        public override Errno Ioctl(IommufdContext context, uint request, Span<byte> argument, out int result)
        {
            result = 77;
            Context = context;
            return request == Request && BinaryPrimitives.ReadUInt32LittleEndian(argument) == 0 ? Errno.Success : Errno.NotTypewriter;
        }
    }

    private sealed class Held(User user) : IommufdExtensionFile
    {
        public User User => user;

        protected internal override void Release() => user.Ended++;
    }

    private sealed class User : IIommufdAccessUser
    {
        private readonly Lock _lock = new();

        public IommufdAccess Way { get; set; } = null!;

        public List<AddressRange> Pinned { get; } = [];

        public int Told { get; private set; }

        public int Ended { get; set; }

        public Errno Pin(ulong iova, ulong length)
        {
            lock (_lock)
            {
                Errno error = Way.PinPages(iova, length, writes: false, new PhysicalAddress[length / Page]);
                if (error == Errno.Success)
                {
                    Pinned.Add(new(iova, iova + length - 1));
                }

                return error;
            }
        }

        // It may have been unpinned by then.
        public void Unpin(ulong iova)
        {
            lock (_lock)
            {
                int index = Pinned.FindIndex(range => range.Start == iova);
                if (index >= 0)
                {
                    UnpinAt(index);
                }
            }
        }

        public void OnUnmap(AddressRange range)
        {
            lock (_lock)
            {
                Told++;
                for (int i = Pinned.Count - 1; i >= 0; i--)
                {
                    if (Pinned[i].Overlaps(range))
                    {
                        UnpinAt(i);
                    }
                }
            }
        }

        private void UnpinAt(int index)
        {
            AddressRange range = Pinned[index];
            Pinned.RemoveAt(index);
            Way.UnpinPages(range.Start, range.Last - range.Start + 1);
        }
    }
}
