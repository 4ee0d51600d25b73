using Ioasis.Primitives;

namespace Ioasis.Client.Tests;

/// <summary>Kernels by name.</summary>
public sealed class TransportNameTests
{
    [Fact]
    public void A_program_opens_the_kernel_whose_name_it_was_given()
    {
        using Machine machine = new();
        Client.Iommu.Register("embedded-of-a-test", () => machine.Platform.Kernel);
        Client.Iommu.Transports.ShouldContain("embedded-of-a-test");
        Client.Iommu.GetKernel("embedded-of-a-test").ShouldBeSameAs(machine.Platform.Kernel);
        using IommuFd iommu = Client.Iommu.Open("embedded-of-a-test");
        iommu.Descriptor.Kernel.ShouldBeSameAs(machine.Platform.Kernel);
        using IommuFd direct = Client.Iommu.Open(machine.Platform.Kernel);
        using IoAddressSpace space = direct.AllocateAddressSpace();
        space.Id.ShouldNotBe(0u);
    }

    [Fact]
    public void A_name_that_is_not_registered_is_refused_with_those_that_are()
    {
        Client.Iommu.Register("one-that-is-there", static () => throw new InvalidOperationException());
        ArgumentException refusal = Should.Throw<ArgumentException>(static () => Client.Iommu.Open("none such"));
        refusal.Message.ShouldContain("'none such'");
        refusal.Message.ShouldContain("one-that-is-there");
    }

    [Fact]
    public void An_exception_carries_errno_call_and_values()
    {
        using Machine machine = new();
        IommuException refusal = Should.Throw<IommuException>(() => machine.Space.Unmap(new Iova(0x5000), 4096));
        refusal.Error.ShouldBe(Errno.NoEntry);
        refusal.Call.ShouldBe("IOMMU_IOAS_UNMAP");
        refusal.Values.ShouldContain("0x5000");
        refusal.Message.ShouldContain("errno 2");
        new IommuException("words").Values.ShouldBeEmpty();
    }
}
